//! The preflight of tar: a reader that passes blocks on after it has checked them, and remembers the members
//! that it saw. Nothing reaches the `tar` crate that could be read in two ways.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::rc::Rc;

use super::super::error::{Fault, Reason, shown};
use super::super::limits::Budget;
use super::header::{BLOCK, Block, Header, Role, Type};
use super::pax::{self, Records};

/// A member as the preflight saw it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Type,
    pub(crate) size: u64,
    pub(crate) link: Vec<u8>,
    pub(crate) executable: bool,
    pub(crate) set_id: bool,
}

/// What the preflight tells the reader behind it.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) members: VecDeque<Member>,
    /// Why the last read failed.
    pub(crate) fault: Option<Fault>,
}

/// Bytes of one extended header, and of the zeros behind the end of an archive.
const EXTENDED: u64 = 1 << 20;

/// Checks what it reads from `inner`.
pub(crate) struct Strict<'a, 'b, R> {
    inner: R,
    budget: &'a mut Budget<'b>,
    seen: Rc<RefCell<Seen>>,
    /// Checked blocks that were not passed on yet.
    ready: VecDeque<u8>,
    /// Bytes of the current member's content, and of the padding behind it.
    body: u64,
    padding: usize,
    /// Name of the current member, for messages.
    current: String,
    ended: bool,
}

/// Extended headers that wait for their member.
#[derive(Default)]
struct Waiting {
    pax: Option<Records>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<'a, 'b, R: Read> Strict<'a, 'b, R> {
    pub(crate) fn new(inner: R, budget: &'a mut Budget<'b>) -> Self {
        Self {
            inner,
            budget,
            seen: Rc::default(),
            ready: VecDeque::new(),
            body: 0,
            padding: 0,
            current: String::new(),
            ended: false,
        }
    }

    /// Shared with the reader behind.
    pub(crate) fn seen(&self) -> Rc<RefCell<Seen>> {
        Rc::clone(&self.seen)
    }

    fn advance(&mut self, into: &mut [u8]) -> Result<usize, Fault> {
        loop {
            if !self.ready.is_empty() {
                return Ok(self.ready.read(into)?);
            }
            if self.body > 0 {
                return self.pass_body(into);
            }
            if self.padding > 0 {
                self.pass_padding()?;
            } else if self.ended {
                return Ok(0);
            } else {
                self.next_member()?;
            }
        }
    }

    fn pass_body(&mut self, into: &mut [u8]) -> Result<usize, Fault> {
        let most = usize::try_from(self.body).unwrap_or(usize::MAX).min(into.len());
        let count = self.inner.read(&mut into[..most])?;
        if count == 0 {
            return Err(Reason::Truncated.into());
        }
        self.body -= count as u64;
        Ok(count)
    }

    fn pass_padding(&mut self) -> Result<(), Fault> {
        let mut block = [0; BLOCK];
        let padding = &mut block[..self.padding];
        self.inner.read_exact(padding)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(Reason::StrayBytes { found: "bytes behind its content".to_owned() }.into());
        }
        self.ready.extend(&*padding);
        self.padding = 0;
        Ok(())
    }

    /// Reads headers up to and with that of a member, or the end of the archive.
    fn next_member(&mut self) -> Result<(), Fault> {
        let mut waiting = Waiting::default();
        loop {
            self.current.clear();
            let mut block: Block = [0; BLOCK];
            self.inner.read_exact(&mut block)?;
            if block == [0; BLOCK] {
                if waiting.is_any() {
                    return Err(Reason::Malformed("an extended header without a member".to_owned()).into());
                }
                return self.end();
            }
            let header = Header::parse(&block).map_err(|reason| Fault::from(reason).at(&shown(name_field(&block))))?;
            self.current = shown(&header.name);
            self.budget.member()?;
            self.ready.extend(block);
            let Role::Member(kind) = header.role else {
                let content = self.extended(header.size)?;
                waiting.take(header.role, &content)?;
                continue;
            };
            let member = waiting.member(header, kind)?;
            self.current = shown(&member.name);
            self.budget.file(&self.current, member.size)?;
            self.body = member.size;
            self.padding = padding(member.size);
            self.seen.borrow_mut().members.push_back(member);
            return Ok(());
        }
    }

    /// The content of an extended header, which is passed on too.
    fn extended(&mut self, size: u64) -> Result<Vec<u8>, Fault> {
        if size > EXTENDED {
            return Err(Reason::Malformed(format!("an extended header of {size} bytes")).into());
        }
        self.budget.file(&self.current, size)?;
        let mut content = Vec::new();
        let read = (&mut self.inner).take(size).read_to_end(&mut content)?;
        if read as u64 != size {
            return Err(Reason::Truncated.into());
        }
        self.ready.extend(&content);
        self.padding = padding(size);
        if self.padding > 0 {
            self.pass_padding()?;
        }
        Ok(content)
    }

    /// After the first block of zeros: another one, and nothing but zeros behind.
    fn end(&mut self) -> Result<(), Fault> {
        let mut second: Block = [0; BLOCK];
        self.inner.read_exact(&mut second)?;
        if second != [0; BLOCK] {
            return Err(Reason::StrayBytes { found: "data behind a single end-of-archive block".to_owned() }.into());
        }
        let mut buffer = vec![0; 64 << 10];
        let mut zeros = 0;
        loop {
            let count = self.inner.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            zeros += count as u64;
            if zeros > EXTENDED || buffer[..count].iter().any(|byte| *byte != 0) {
                return Err(Reason::StrayBytes { found: "data behind the end-of-archive mark".to_owned() }.into());
            }
        }
        self.ended = true;
        self.ready.extend([0; 2 * BLOCK]);
        Ok(())
    }
}

impl<R: Read> Read for Strict<'_, '_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        self.advance(into).map_err(|fault| {
            let fault = if self.current.is_empty() { fault } else { fault.at(&self.current) };
            let mut seen = self.seen.borrow_mut();
            seen.fault.get_or_insert(fault);
            io::Error::new(io::ErrorKind::InvalidData, "refused by the preflight")
        })
    }
}

impl Waiting {
    fn is_any(&self) -> bool {
        self.pax.is_some() || self.long_name.is_some() || self.long_link.is_some()
    }

    /// Takes the content of an extended header.
    fn take(&mut self, role: Role, content: &[u8]) -> Result<(), Reason> {
        match role {
            Role::PaxGlobal => {
                // Some readers apply waiting headers to this one.
                if self.is_any() {
                    return Err(mixed());
                }
                pax::parse(content, true).map(|_| ())
            }
            Role::Pax => put(&mut self.pax, pax::parse(content, false)?),
            Role::LongName => put(&mut self.long_name, long(content)?),
            Role::LongLink => put(&mut self.long_link, long(content)?),
            Role::Member(_) => Ok(()),
        }?;
        if self.pax.is_some() && (self.long_name.is_some() || self.long_link.is_some()) {
            return Err(mixed());
        }
        Ok(())
    }

    /// The member that `header` and what waited for it make.
    fn member(self, header: Header, kind: Type) -> Result<Member, Reason> {
        let pax = self.pax.unwrap_or_default();
        if let Some(size) = pax.size.filter(|size| *size != header.size) {
            return Err(Reason::disagreement("its size", ("its header", header.size), ("its extended header", size)));
        }
        if kind != Type::File && header.size != 0 {
            return Err(Reason::Malformed(format!("{} bytes of content without being a file", header.size)));
        }
        let is_link = matches!(kind, Type::Link | Type::HardLink);
        let link = self.long_link.or(pax.link).unwrap_or(header.link);
        if !is_link && !link.is_empty() {
            return Err(Reason::Malformed("a link's text without being a link".to_owned()));
        }
        let name = self.long_name.or(pax.path).unwrap_or(header.name);
        // V7 wrote folders so; readers disagree.
        if kind != Type::Folder && name.ends_with(b"/") {
            return Err(Reason::Malformed("a name that ends with `/` without being a folder".to_owned()));
        }
        let (executable, set_id) = (header.mode & 0o111 != 0, header.mode & 0o6000 != 0);
        Ok(Member { name, kind, size: header.size, link, executable, set_id })
    }
}

fn put<T>(slot: &mut Option<T>, value: T) -> Result<(), Reason> {
    if slot.replace(value).is_some() {
        return Err(Reason::Malformed("two extended headers of one kind".to_owned()));
    }
    Ok(())
}

fn mixed() -> Reason {
    Reason::Malformed("extended headers of PAX and GNU, or local and global ones, mixed".to_owned())
}

/// GNU ends long names with a NUL.
fn long(content: &[u8]) -> Result<Vec<u8>, Reason> {
    match content.strip_suffix(b"\0") {
        Some(name) if !name.is_empty() && !name.contains(&0) => Ok(name.to_vec()),
        _ => Err(Reason::Malformed("a long name that does not end with its only NUL".to_owned())),
    }
}

fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    (BLOCK - over) % BLOCK
}

fn name_field(block: &Block) -> &[u8] {
    let end = block[..100].iter().position(|byte| *byte == 0).unwrap_or(100);
    &block[..end]
}
