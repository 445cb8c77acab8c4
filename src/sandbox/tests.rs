//! Checks from inside: a program in the sandbox tells what it sees.

use super::*;

/// This machine's /usr: enough for a shell and Python.
fn host_view() -> Vec<View> {
    let mut view = vec![View::Bind { from: "/usr".into(), at: "/usr".into() }];
    for name in ["bin", "sbin", "lib", "lib64"] {
        view.push(View::Link { to: format!("usr/{name}").into(), at: format!("/{name}").into() });
    }
    view
}

fn spec(program: &[&str]) -> Spec {
    Spec {
        view: host_view(),
        writable: vec![],
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin".to_owned())]),
        cwd: "/".into(),
        argv: program.iter().map(|text| (*text).to_owned()).collect(),
        stdin: vec![],
        time_limit: Duration::from_secs(60),
    }
}

fn shell(script: &str) -> Spec {
    spec(&["/usr/bin/bash", "-c", script])
}

fn run_quietly(spec: &Spec) -> Outcome {
    run(spec, &mut |_, _| {}).unwrap()
}

#[test]
fn user_host_and_umask_are_fixed() {
    let outcome = run_quietly(&shell("id -u; id -g; uname -n; umask; echo $$ $PPID; whoami; pwd"));
    assert_eq!(outcome.output, "1000\n100\nakb\n0022\n2 1\nakb\n/\n");
    assert_eq!(outcome.status, 0);
}

#[test]
fn the_environment_is_exactly_what_was_given() {
    let mut spec = spec(&["/usr/bin/env"]);
    spec.env = BTreeMap::from([("B".into(), "2 = two".into()), ("A".into(), "1\n".into())]);
    assert_eq!(run_quietly(&spec).output, "A=1\n\nB=2 = two\n");
}

#[test]
fn nothing_of_this_machine_is_seen() {
    let outcome =
        run_quietly(&shell("cd /; echo *; echo /etc/*; echo /dev/*; echo /root /home/* /proc/1[0-9]*; ls -A /tmp"));
    let expected = [
        "bin dev etc lib lib64 proc sbin tmp usr",
        "/etc/group /etc/hosts /etc/nsswitch.conf /etc/passwd",
        "/dev/fd /dev/full /dev/null /dev/random /dev/shm /dev/stderr /dev/stdin /dev/stdout /dev/urandom /dev/zero",
        "/root /home/* /proc/1[0-9]*",
    ];
    assert_eq!(outcome.output.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn nothing_can_be_written_but_what_was_lent() {
    let lent = tempfile::tempdir().unwrap();
    let mut spec = shell(
        "for at in / /usr /etc /dev /proc/sys/kernel/core_pattern; do test -w $at && echo writable $at; done; \
         echo 1 > /tmp/a && echo 2 > /dev/shm/b && mkdir /out/d && echo 3 > /out/d/c && touch /usr/x /x; ls /out",
    );
    spec.writable = vec![(lent.path().to_owned(), "/out".into())];
    let outcome = run_quietly(&spec);
    assert!(!outcome.output.contains("writable"), "{}", outcome.output);
    assert!(outcome.output.contains("cannot touch '/usr/x': Read-only file system"), "{}", outcome.output);
    assert!(outcome.output.contains("cannot touch '/x': Read-only file system"), "{}", outcome.output);
    assert_eq!(std::fs::read_to_string(lent.path().join("d/c")).unwrap(), "3\n");
    assert_eq!(
        std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(lent.path().join("d")).unwrap()),
        nix::unistd::geteuid().as_raw()
    );
}

#[test]
fn there_is_no_network_but_localhost() {
    let outcome = run_quietly(&shell(
        "tail -n +3 /proc/net/dev | cut -d: -f1; : < /dev/tcp/127.0.0.1/9; : < /dev/tcp/192.0.2.1/80",
    ));
    // A refused connection is one that an interface took.
    for expected in
        ["lo\n", "/dev/tcp/127.0.0.1/9: Connection refused\n", "/dev/tcp/192.0.2.1/80: Network is unreachable\n"]
    {
        assert!(outcome.output.contains(expected), "{}", outcome.output);
    }
}

#[test]
fn privileges_are_gone() {
    let outcome = run_quietly(&shell(
        "grep -E '^(CapEff|CapPrm|NoNewPrivs|SigIgn|SigBlk)' /proc/self/status; ls /proc/self/fd; ulimit -c",
    ));
    let fields: Vec<&str> = outcome.output.split_ascii_whitespace().collect();
    let zero = "0000000000000000";
    let expected = ["SigBlk:", zero, "SigIgn:", zero, "CapPrm:", zero, "CapEff:", zero, "NoNewPrivs:", "1"];
    assert_eq!(fields[..10], expected);
    // Three streams, and the folder that `ls` reads. No core files.
    assert_eq!(fields[10..], ["0", "1", "2", "3", "0"]);
}

#[test]
fn streams_status_and_stdin_are_passed() {
    let mut spec = shell("cat; echo oops >&2; exit 7");
    spec.stdin = b"from outside\n".to_vec();
    let mut lines = Vec::new();
    let outcome = run(&spec, &mut |stream, line| lines.push((stream, line.to_owned()))).unwrap();
    assert_eq!(outcome.status, 7);
    lines.sort_by_key(|(stream, _)| *stream == Stream::Stderr);
    assert_eq!(lines, [(Stream::Stdout, "from outside".to_owned()), (Stream::Stderr, "oops".to_owned())]);
    assert_eq!(run_quietly(&shell("kill -9 $$")).status, 137);
    assert!(run_quietly(&shell("for i in {1..200000}; do :; done")).cpu > Duration::ZERO);
}

#[test]
fn much_output_and_large_input_do_not_block() {
    let mut spec = shell("cat >&2; head -c 3000000 /dev/zero | tr '\\0' 'x' | fold -w 99");
    spec.stdin = vec![b'y'; 2 << 20];
    assert!(run_quietly(&spec).output.len() > 5_000_000);
}

#[test]
fn the_time_limit_ends_everything() {
    let mut spec = shell("echo before; sleep 1000 & setsid sleep 1000 & sleep 1000");
    spec.time_limit = Duration::from_millis(300);
    let error = run(&spec, &mut |_, _| {}).unwrap_err();
    assert!(matches!(&error, SandboxError::TimeLimit { output, .. } if output == "before\n"), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Build);
}

#[test]
fn what_was_left_behind_is_killed() {
    // `run` returns only when the pipes are closed: a survivor would hold them for 1000 seconds.
    let outcome = run_quietly(&shell("(sleep 1000; true) & setsid sleep 1000 & echo done"));
    assert_eq!(outcome.output, "done\n");
}

#[test]
fn missing_programs_and_folders_are_named() {
    let error = run(&spec(&["/usr/bin/does-not-exist"]), &mut |_, _| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot execute /usr/bin/does-not-exist in the sandbox: No such file or directory (os error 2)"
    );
    let mut elsewhere = shell("true");
    elsewhere.cwd = "/nowhere".into();
    let error = run(&elsewhere, &mut |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("entering its working folder (/nowhere)"), "{error}");
    let mut inside = shell("true");
    inside.view.push(View::Bind { from: "/usr".into(), at: "/usr/nowhere/x".into() });
    let error = run(&inside, &mut |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("/usr/nowhere"), "{error}");
    assert!(!Path::new("/usr/nowhere").exists());
}

#[test]
fn many_threads_may_run_sandboxes() {
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for number in 0..5 {
                    let outcome = run_quietly(&shell(&format!("echo {number}; ls /proc/self/fd | wc -l")));
                    assert_eq!(outcome.output, format!("{number}\n4\n"));
                }
            });
        }
    });
}

#[test]
fn root_can_do_without_a_user_namespace() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let lent = tempfile::tempdir().unwrap();
    std::fs::write(lent.path().join("given"), "1").unwrap();
    let mut spec = shell(
        "id -u; id -g; echo 2 > /out/made; echo 3 > /out/given; grep CapEff /proc/self/status",
    );
    spec.writable = vec![(lent.path().to_owned(), "/out".into())];
    // Root of a user namespace in which there is no other user.
    let Ok(owned) = Lent::to_sandbox_user(&spec) else { return };
    let outcome = attempt(&spec, false, &mut |_, _| {}).unwrap();
    owned.take_back().unwrap();
    assert!(outcome.output.contains("1000\n100\nCapEff:\t0000000000000000\n"), "{}", outcome.output);
    for (name, text) in [("made", "2\n"), ("given", "3\n")] {
        let path = lent.path().join(name);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).unwrap()), 0);
    }
}

/// Not a test: what the next one starts and kills.
#[test]
#[ignore = "runs until it is killed"]
fn sleeper() {
    #[expect(clippy::disallowed_methods, reason = "the test that starts it says where")]
    let folder = PathBuf::from(std::env::var("AKB_TEST_SLEEPER").unwrap());
    // Open for reading, too: that waits for nobody.
    let mut spec = shell("exec 3<> /out/fifo; echo ready; setsid sleep 1000 & sleep 1000");
    spec.writable = vec![(folder, "/out".into())];
    spec.time_limit = Duration::from_secs(1000);
    run(&spec, &mut |_, line| println!("{line}")).unwrap();
}

#[test]
fn nothing_outlives_akb() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut akb = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "sandbox::tests::sleeper"])
        .env("AKB_TEST_SLEEPER", folder.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = io::BufRead::lines(io::BufReader::new(akb.stdout.take().unwrap()));
    assert!(lines.any(|line| line.unwrap() == "ready"));
    // Ends when the last process that has it open is gone.
    let mut end = std::fs::File::open(&fifo).unwrap();
    akb.kill().unwrap();
    akb.wait().unwrap();
    let mut text = String::new();
    io::Read::read_to_string(&mut end, &mut text).unwrap();
    assert_eq!(text, "");
}
