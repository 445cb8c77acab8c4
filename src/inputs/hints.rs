//! Which package has a header, library, `.pc` file or tool that a build misses: the well-known ones.

/// Where a missing thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// Debian package, for `inputs` in `akb.toml`.
    pub debian: &'static str,
    /// Attribute of nixpkgs.
    pub nix: &'static str,
}

/// A part of a package, which nixpkgs may have in an output of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Headers and `.pc` files.
    Headers,
    /// What a linker takes.
    Libraries,
    /// Programs.
    Programs,
}

/// Programs in outputs of their own, which `getBin` does not give.
const OWN_OUTPUTS: [(&str, &str); 1] = [("pg_config", "pkgs.libpq.pg_config")];

impl Hint {
    /// The expression of nixpkgs for the output that has `name`, a part of it.
    pub fn nix_output(&self, part: Part, name: &str) -> String {
        let own = OWN_OUTPUTS.iter().find(|(known, _)| part == Part::Programs && *known == name);
        let function = match part {
            Part::Headers => "getDev",
            Part::Libraries => "getLib",
            Part::Programs => "getBin",
        };
        own.map_or_else(|| format!("(lib.{function} pkgs.{})", self.nix), |(_, output)| (*output).to_owned())
    }
}

/// One line a package: Debian package, Nix attribute, headers (a folder ends in a slash), libraries (without `lib` and
/// suffix), modules of pkg-config, programs.
const TABLE: &str = "\
autoconf | autoconf | | | | autoconf autoreconf autoheader
automake | automake | | | | automake aclocal
bash | bash | | | | bash
binutils | stdenv.cc | | | | ld as ar nm objcopy objdump strip readelf ranlib
bison | bison | | | | bison yacc
bzip2 | bzip2 | | | | bzip2
cargo | cargo | | | | cargo
cmake | cmake | | | | cmake
coreutils | coreutils | | | | cat chmod cp cut date dirname basename env expr head id ln ls mkdir mktemp mv rm rmdir sort tail touch tr uname uniq wc
curl | curl | | | | curl
cython3 | python3Packages.cython | | | | cython3
dash | bash | | | | sh dash
default-libmysqlclient-dev | libmysqlclient | mysql.h mysql/ mariadb/ | mysqlclient mariadb | mysqlclient libmariadb mariadb | mysql_config mariadb_config
diffutils | diffutils | | | | cmp diff
file | file | | | | file
findutils | findutils | | | | find xargs
flex | flex | FlexLexer.h | fl | | flex lex
freetds-dev | freetds | sybdb.h sybfront.h | sybdb ct | |
g++ | stdenv.cc | iostream string vector memory algorithm cstdint cstddef cstring utility | stdc++ | | g++ c++ cc1plus
gcc | stdenv.cc | stdarg.h stddef.h | gcc gcc_s | | gcc cc cc1 collect2 cpp
gettext | gettext | libintl.h | | | msgfmt xgettext gettext
gfortran | gfortran | | gfortran quadmath | | gfortran f95 f77
git | git | | | | git
gobject-introspection | gobject-introspection | | | | g-ir-scanner
graphviz | graphviz | | | | dot
grep | gnugrep | | | | grep egrep fgrep
gzip | gzip | | | | gzip gunzip
libacl1-dev | acl | acl/ sys/acl.h | acl | libacl |
libaio-dev | libaio | libaio.h | aio | |
libarchive-dev | libarchive | archive.h archive_entry.h | archive | libarchive |
libargon2-dev | libargon2 | argon2.h | argon2 | libargon2 |
libasan8 | gcc | | asan | |
libasound2-dev | alsa-lib | alsa/ | asound | alsa |
libattr1-dev | attr | attr/ | attr | libattr |
libaugeas-dev | augeas | augeas.h | augeas | augeas |
libavcodec-dev | ffmpeg | libavcodec/ | avcodec | libavcodec |
libavformat-dev | ffmpeg | libavformat/ | avformat | libavformat |
libblas-dev | blas | cblas.h | blas | blas |
libbluetooth-dev | bluez | bluetooth/ | bluetooth | bluez |
libboost-dev | boost | boost/ | | |
libbrotli-dev | brotli | brotli/ | brotlienc brotlidec brotlicommon | libbrotlienc libbrotlidec |
libbz2-dev | bzip2 | bzlib.h | bz2 | bzip2 |
libc6-dev | glibc | stdio.h stdlib.h string.h errno.h features.h limits.h math.h pthread.h unistd.h sys/ bits/ gnu/ netinet/ arpa/ | c m pthread dl rt util resolv | |
libcairo2-dev | cairo | cairo.h cairo/ | cairo | cairo |
libcap-dev | libcap | sys/capability.h | cap | libcap |
libcups2-dev | cups | cups/ | cups | cups | cups-config
libcurl4-openssl-dev | curl | curl/ | curl | libcurl | curl-config
libdb-dev | db | db.h | db | |
libdbus-1-dev | dbus | dbus/ dbus-1.0/ | dbus-1 | dbus-1 |
libdrm-dev | libdrm | drm.h libdrm/ xf86drm.h | drm | libdrm |
libedit-dev | libedit | editline/ histedit.h | edit | libedit |
libelf-dev | elfutils | libelf.h gelf.h elfutils/ | elf dw | libelf libdw |
libenchant-2-dev | enchant | enchant.h enchant-2/ | enchant-2 | enchant-2 |
libev-dev | libev | ev.h | ev | |
libevent-dev | libevent | event.h event2/ | event event_core | libevent |
libexif-dev | libexif | libexif/ | exif | libexif |
libexpat1-dev | expat | expat.h | expat | expat |
libffi-dev | libffi | ffi.h ffitarget.h | ffi | libffi |
libfftw3-dev | fftw | fftw3.h | fftw3 | fftw3 |
libfontconfig-dev | fontconfig | fontconfig/ | fontconfig | fontconfig |
libfreetype-dev | freetype | ft2build.h freetype/ freetype2/ | freetype | freetype2 | freetype-config
libfribidi-dev | fribidi | fribidi.h fribidi/ | fribidi | fribidi |
libfuse3-dev | fuse3 | fuse3/ | fuse3 | fuse3 |
libgcrypt20-dev | libgcrypt | gcrypt.h | gcrypt | libgcrypt | libgcrypt-config
libgdal-dev | gdal | gdal.h gdal/ ogr_api.h | gdal | gdal | gdal-config
libgdbm-dev | gdbm | gdbm.h | gdbm | |
libgeos-dev | geos | geos_c.h geos/ | geos_c geos | geos | geos-config
libgirepository-2.0-dev | glib | girepository/ | girepository-2.0 | girepository-2.0 |
libgirepository1.0-dev | gobject-introspection | girepository.h | girepository-1.0 | gobject-introspection-1.0 |
libgit2-dev | libgit2 | git2.h git2/ | git2 | libgit2 |
libgl-dev | libGL | GL/ | GL | gl opengl |
libglib2.0-dev | glib | glib.h glib-object.h gio/ glib/ | glib-2.0 gobject-2.0 gio-2.0 | glib-2.0 gobject-2.0 gio-2.0 |
libgmp-dev | gmp | gmp.h | gmp | gmp |
libgnutls28-dev | gnutls | gnutls/ | gnutls | gnutls |
libgpgme-dev | gpgme | gpgme.h | gpgme | gpgme | gpgme-config
libgraphviz-dev | graphviz | graphviz/ | cgraph gvc cdt | libcgraph libgvc |
libgsl-dev | gsl | gsl/ | gsl | gsl | gsl-config
libharfbuzz-dev | harfbuzz | hb.h harfbuzz/ | harfbuzz | harfbuzz |
libhdf5-dev | hdf5 | hdf5.h | hdf5 | hdf5 | h5cc
libhiredis-dev | hiredis | hiredis/ | hiredis | hiredis |
libicu-dev | icu | unicode/ | icuuc icui18n icudata | icu-uc icu-i18n | icu-config
libidn-dev | libidn | idna.h | idn | libidn |
libidn2-dev | libidn2 | idn2.h | idn2 | libidn2 |
libimagequant-dev | libimagequant | libimagequant.h | imagequant | imagequant |
libjansson-dev | jansson | jansson.h | jansson | jansson |
libjpeg-dev | libjpeg | jpeglib.h jconfig.h | jpeg | libjpeg |
libkeyutils-dev | keyutils | keyutils.h | keyutils | libkeyutils |
libkrb5-dev | libkrb5 | krb5.h gssapi.h gssapi/ krb5/ kadm5/ kdb.h com_err.h | gssapi_krb5 krb5 k5crypto com_err kadm5clnt_mit kadm5srv_mit | krb5 krb5-gssapi mit-krb5 mit-krb5-gssapi kadm-client kadm-server | krb5-config
liblapack-dev | lapack | lapacke.h | lapack | lapack |
liblcms2-dev | lcms2 | lcms2.h | lcms2 | lcms2 |
libldap2-dev | openldap | ldap.h lber.h | ldap ldap_r lber | ldap lber |
libleptonica-dev | leptonica | leptonica/ | lept leptonica | lept |
libleveldb-dev | leveldb | leveldb/ | leveldb | leveldb |
liblmdb-dev | lmdb | lmdb.h | lmdb | lmdb |
libltdl-dev | libtool | ltdl.h | ltdl | |
liblz4-dev | lz4 | lz4.h lz4frame.h | lz4 | liblz4 |
liblzma-dev | xz | lzma.h lzma/ | lzma | liblzma |
liblzo2-dev | lzo | lzo/ | lzo2 | lzo2 |
libmagic-dev | file | magic.h | magic | libmagic |
libmagickwand-dev | imagemagick | wand/ MagickWand/ | MagickWand | MagickWand | Magick-config
libmaxminddb-dev | libmaxminddb | maxminddb.h | maxminddb | libmaxminddb |
libmemcached-dev | libmemcached | libmemcached/ | memcached | libmemcached |
libmnl-dev | libmnl | libmnl/ | mnl | libmnl |
libmpc-dev | libmpc | mpc.h | mpc | |
libmpfr-dev | mpfr | mpfr.h | mpfr | mpfr |
libncurses-dev | ncurses | curses.h ncurses.h panel.h term.h | ncurses ncursesw tinfo panel | ncurses ncursesw | ncurses6-config
libnetcdf-dev | netcdf | netcdf.h | netcdf | netcdf | nc-config
libnghttp2-dev | nghttp2 | nghttp2/ | nghttp2 | libnghttp2 |
libnl-3-dev | libnl | netlink/ | nl-3 | libnl-3.0 |
libnspr4-dev | nspr | nspr.h nspr/ | nspr4 | nspr |
libnss3-dev | nss | nss.h nss/ | nss3 | nss |
libnuma-dev | numactl | numa.h | numa | numa |
libonig-dev | oniguruma | oniguruma.h | onig | oniguruma |
libopenblas-dev | openblas | openblas/ | openblas | openblas |
libopenjp2-7-dev | openjpeg | openjpeg.h | openjp2 | libopenjp2 |
libopus-dev | libopus | opus/ opus.h | opus | opus |
libpam0g-dev | pam | security/ | pam | pam |
libpango1.0-dev | pango | pango/ | pango-1.0 pangocairo-1.0 | pango pangocairo |
libpcap-dev | libpcap | pcap.h pcap/ | pcap | libpcap | pcap-config
libpci-dev | pciutils | pci/ | pci | libpci |
libpcre2-dev | pcre2 | pcre2.h | pcre2-8 | libpcre2-8 | pcre2-config
libpng-dev | libpng | png.h | png png16 | libpng libpng16 | libpng-config
libpoppler-cpp-dev | poppler | poppler/ | poppler-cpp | poppler-cpp |
libportmidi-dev | portmidi | portmidi.h | portmidi | |
libpq-dev | libpq | libpq-fe.h libpq/ postgres_ext.h pg_config.h postgresql/ | pq | libpq | pg_config
libproj-dev | proj | proj.h proj_api.h | proj | proj | proj
libprotobuf-dev | protobuf | google/ | protobuf | protobuf |
libqpdf-dev | qpdf | qpdf/ | qpdf | libqpdf |
librabbitmq-dev | rabbitmq-c | amqp.h | rabbitmq | librabbitmq |
librdkafka-dev | rdkafka | librdkafka/ | rdkafka | rdkafka |
libreadline-dev | readline | readline/ | readline history | readline |
librocksdb-dev | rocksdb | rocksdb/ | rocksdb | rocksdb |
librsync-dev | librsync | librsync.h | rsync | |
libsasl2-dev | cyrus_sasl | sasl/ | sasl2 | libsasl2 |
libsdl2-dev | SDL2 | SDL.h SDL2/ | SDL2 | sdl2 | sdl2-config
libseccomp-dev | libseccomp | seccomp.h | seccomp | libseccomp |
libsecp256k1-dev | secp256k1 | secp256k1.h | secp256k1 | libsecp256k1 |
libselinux1-dev | libselinux | selinux/ | selinux | libselinux |
libsmbclient-dev | samba | libsmbclient.h | smbclient | smbclient |
libsnappy-dev | snappy | snappy.h snappy-c.h | snappy | snappy |
libsndfile1-dev | libsndfile | sndfile.h | sndfile | sndfile |
libsnmp-dev | net-snmp | net-snmp/ | netsnmp | netsnmp | net-snmp-config
libsodium-dev | libsodium | sodium.h sodium/ | sodium | libsodium |
libspatialindex-dev | libspatialindex | spatialindex/ | spatialindex spatialindex_c | libspatialindex |
libsqlite3-dev | sqlite | sqlite3.h | sqlite3 | sqlite3 |
libssh-dev | libssh | libssh/ | ssh | libssh |
libssh2-1-dev | libssh2 | libssh2.h | ssh2 | libssh2 |
libssl-dev | openssl | openssl/ | ssl crypto | openssl libssl libcrypto |
libsystemd-dev | systemd | systemd/ | systemd | libsystemd |
libtesseract-dev | tesseract | tesseract/ | tesseract | tesseract |
libtiff-dev | libtiff | tiff.h tiffio.h | tiff | libtiff-4 |
libtool | libtool | | | | libtoolize
libtsan2 | gcc | | tsan | |
libubsan1 | gcc | | ubsan | |
libudev-dev | udev | libudev.h | udev | libudev |
libunwind-dev | libunwind | libunwind.h | unwind | libunwind |
libusb-1.0-0-dev | libusb1 | libusb.h libusb-1.0/ | usb-1.0 | libusb-1.0 |
libuv1-dev | libuv | uv.h uv/ | uv | libuv |
libvirt-dev | libvirt | libvirt/ | virt | libvirt |
libvpx-dev | libvpx | vpx/ | vpx | vpx |
libwayland-dev | wayland | wayland-client.h | wayland-client | wayland-client |
libwebp-dev | libwebp | webp/ | webp webpmux webpdemux | libwebp libwebpmux libwebpdemux |
libx11-dev | xorg.libX11 | X11/ | X11 | x11 |
libxcb1-dev | xorg.libxcb | xcb/ | xcb | xcb |
libxml2-dev | libxml2 | libxml/ libxml2/ | xml2 | libxml-2.0 | xml2-config
libxmlsec1-dev | xmlsec | xmlsec/ xmlsec1/ | xmlsec1 xmlsec1-openssl | xmlsec1 xmlsec1-openssl | xmlsec1-config
libxslt1-dev | libxslt | libxslt/ libexslt/ | xslt exslt | libxslt libexslt | xslt-config
libxxhash-dev | xxHash | xxhash.h | xxhash | libxxhash |
libyaml-dev | libyaml | yaml.h | yaml | yaml-0.1 |
libzbar-dev | zbar | zbar.h | zbar | zbar |
libzmq3-dev | zeromq | zmq.h | zmq | libzmq |
libzstd-dev | zstd | zstd.h | zstd | libzstd |
linux-libc-dev | linuxHeaders | linux/ asm/ asm-generic/ | | |
llvm-dev | llvm | llvm/ llvm-c/ | LLVM | | llvm-config
m4 | m4 | | | | m4
make | gnumake | | | | make gmake
mawk | gawk | | | | awk mawk gawk
meson | meson | | | | meson
nasm | nasm | | | | nasm
ninja-build | ninja | | | | ninja
nodejs | nodejs | | | | node
npm | nodejs | | | | npm
patch | patch | | | | patch
patchelf | patchelf | | | | patchelf
perl-base | perl | | | | perl
pkgconf | pkg-config | | | | pkg-config pkgconf
portaudio19-dev | portaudio | portaudio.h | portaudio | portaudio-2.0 |
protobuf-compiler | protobuf | | | | protoc
python3-dev | python3 | Python.h pyconfig.h | | python3 python3-embed | python3-config
rustc | rustc | | | | rustc
sed | gnused | | | | sed
swig | swig | | | | swig
tar | gnutar | | | | tar
tk-dev | tk | tk.h tcl.h | tk tcl | tk tcl | wish tclsh
unixodbc-dev | unixODBC | sql.h sqlext.h | odbc odbcinst | odbc | odbc_config
unzip | unzip | | | | unzip
uuid-dev | libuuid | uuid/ uuid.h | uuid | uuid |
xsltproc | libxslt | | | | xsltproc
zlib1g-dev | zlib | zlib.h zconf.h | z | zlib |
";

const HEADERS: usize = 2;
const LIBRARIES: usize = 3;
const MODULES: usize = 4;
const PROGRAMS: usize = 5;

/// The package with a C header, such as `libxml/xmlversion.h`.
pub fn header(name: &str) -> Option<Hint> {
    find(HEADERS, |known| known == name)
        .or_else(|| find(HEADERS, |known| known.ends_with('/') && name.starts_with(known)))
}

/// The package that lets a linker find a library, such as `xslt` for `-lxslt`.
pub fn library(name: &str) -> Option<Hint> {
    find(LIBRARIES, |known| known == name)
}

/// The package with a module of pkg-config, such as `libxml-2.0`.
pub fn pkg_config(name: &str) -> Option<Hint> {
    find(MODULES, |known| known == name)
}

/// The package with a program, such as `pg_config`; a triplet before its name does not matter.
pub fn tool(name: &str) -> Option<Hint> {
    find(PROGRAMS, |known| known == name || name.strip_suffix(known).is_some_and(|rest| rest.ends_with("-linux-gnu-")))
}

/// The package with what a message names: `libxml/xmlversion.h`, `-lxslt`, `pkg-config xmlsec1` or `pg_config`.
pub fn which_package(text: &str) -> Option<Hint> {
    if let Some(name) = text.strip_prefix("-l") {
        return library(name);
    }
    if let Some(name) = text.strip_prefix("pkg-config ") {
        return pkg_config(name.trim());
    }
    tool(text).or_else(|| header(text))
}

fn find(column: usize, matches: impl Fn(&str) -> bool) -> Option<Hint> {
    TABLE.lines().find_map(|line| {
        let mut columns = line.split('|').map(str::trim);
        let (debian, nix) = (columns.next()?, columns.next()?);
        // Two columns are behind us.
        let found = columns.nth(column.checked_sub(2)?)?.split_whitespace().any(&matches);
        found.then_some(Hint { debian, nix })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn finds_what_messages_name() {
        for (text, debian) in [
            ("libxml/xmlversion.h", "libxml2-dev"),
            ("-lxslt", "libxslt1-dev"),
            ("pkg-config xmlsec1", "libxmlsec1-dev"),
            ("pg_config", "libpq-dev"),
            ("krb5-config", "libkrb5-dev"),
            ("gssapi/gssapi_ext.h", "libkrb5-dev"),
            ("sys/capability.h", "libcap-dev"),
            ("sys/types.h", "libc6-dev"),
            ("x86_64-linux-gnu-g++", "g++"),
            ("iostream", "g++"),
            ("-lltdl", "libltdl-dev"),
        ] {
            assert_eq!(which_package(text).map(|hint| hint.debian), Some(debian), "{text}");
        }
        for text in ["", "-l", "pkg-config ", "unheard-of.h", "|", "libxml", "ml/x.h"] {
            assert_eq!(which_package(text), None, "{text}");
        }
    }

    #[test]
    fn names_the_output_of_nixpkgs() {
        let of = |part, name: &str| which_package(name).unwrap().nix_output(part, name);
        assert_eq!(of(Part::Headers, "libxml/xmlversion.h"), "(lib.getDev pkgs.libxml2)");
        assert_eq!(of(Part::Libraries, "-lltdl"), "(lib.getLib pkgs.libtool)");
        assert_eq!(of(Part::Programs, "krb5-config"), "(lib.getBin pkgs.libkrb5)");
        assert_eq!(of(Part::Programs, "pg_config"), "pkgs.libpq.pg_config");
    }

    #[test]
    fn the_table_is_whole_and_sorted() {
        let rows: Vec<Vec<&str>> = TABLE.lines().map(|line| line.split('|').map(str::trim).collect()).collect();
        let mut things = BTreeSet::new();
        for row in &rows {
            assert_eq!(row.len(), PROGRAMS + 1, "{row:?}");
            assert!(!row[0].is_empty() && !row[1].is_empty(), "{row:?}");
            for (column, cell) in row.iter().enumerate().skip(HEADERS) {
                for thing in cell.split_whitespace() {
                    assert!(things.insert((column, thing)), "{thing} comes twice");
                }
            }
        }
        let names: Vec<_> = rows.iter().map(|row| row[0]).collect();
        assert!(names.is_sorted(), "{names:?}");
    }
}
