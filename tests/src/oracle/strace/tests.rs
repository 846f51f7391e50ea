//! Lines of strace 6.1, from runs of stress-ng and pmqtest.

use super::*;

fn only(text: &str) -> Result<Call> {
    let mut calls = parse(text)?;
    ensure!(calls.len() == 1, "{} calls", calls.len());
    calls.pop().context("no call")
}

#[test]
fn whole_lines() -> Result<()> {
    let error = |name: &str| Outcome::Error(name.to_owned());
    let table = [
        (
            r#"23060 mq_open("mq-23060-0", O_RDWR|O_CREAT, 0600, {mq_flags=0, mq_maxmsg=10, mq_msgsize=8, mq_curmsgs=0}) = 3</mq-23060-0>"#,
            4,
            Outcome::Value(3),
        ),
        (
            r#"23060 mq_timedsend(3</mq-23060-0>, ""..., 18446744073709551615, 30, NULL) = -1 EMSGSIZE (Message too long)"#,
            5,
            error("EMSGSIZE"),
        ),
        (
            r#"23072 mq_timedreceive(4</testmsg0>, ""..., 8, [102], {tv_sec=1795513103, tv_nsec=594763729}) = 7"#,
            5,
            Outcome::Value(7),
        ),
        (
            r#"23060 mq_timedreceive(3</q>, 0xffada3c0, 8, 0xffada3b4, NULL) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)"#,
            5,
            error("ERESTARTSYS"),
        ),
        (
            "23061 mq_notify(-1, {sigev_signo=SIGUSR2, sigev_notify=SIGEV_SIGNAL}) = -1 EBADF (Bad file descriptor)",
            2,
            error("EBADF"),
        ),
        (r#"9 mq_unlink("a) = 5, b") = 0"#, 1, Outcome::Value(0)),
    ];
    for (line, arguments, outcome) in table {
        let (tid, _) = line.split_once(' ').context("no thread")?;
        let call = only(&format!("{line}\n{tid} +++ exited with 0 +++"))?;
        assert_eq!(call.arguments.len(), arguments, "{line}");
        assert_eq!(call.outcome, outcome, "{line}");
        assert_eq!(call.line, line);
    }
    Ok(())
}

#[test]
fn halves_are_joined_by_thread() -> Result<()> {
    let calls = parse(
        r#"23072 mq_timedreceive(4</testmsg0>,  <unfinished ...>
23096 mq_open("testmsg1", O_RDWR|O_CREAT, 0777, {mq_flags=0, mq_maxmsg=1, mq_msgsize=8, mq_curmsgs=0} <unfinished ...>
23073 mq_timedsend(4</testmsg0>, ""..., 7, 1, NULL) = 0
23096 <... mq_open resumed>)            = 6</testmsg1>
23072 <... mq_timedreceive resumed>""..., 8, NULL, {tv_sec=1795513105, tv_nsec=550621775}) = 7
23072 +++ exited with 0 +++
23073 +++ exited with 0 +++
23096 +++ exited with 0 +++
"#,
    )?;
    let told: Vec<_> = calls
        .iter()
        .map(|call| (call.tid, call.arguments.len(), call.outcome.clone()))
        .collect();
    assert_eq!(
        told,
        [
            (23072, 5, Outcome::Value(7)),
            (23096, 4, Outcome::Value(6)),
            (23073, 5, Outcome::Value(0)),
        ]
    );
    Ok(())
}

#[test]
fn a_thread_that_ends_inside_tells_by_what() -> Result<()> {
    let died = |signal: Option<&str>| Outcome::Died(signal.map(str::to_owned));
    let table = [
        (
            "23073 mq_timedreceive(3</q>,  <unfinished ...>\n\
             23073 <... mq_timedreceive resumed> <unfinished ...>) = ?\n\
             23073 +++ exited with 0 +++",
            died(None),
        ),
        (
            "23073 mq_timedreceive(3</q>,  <unfinished ...>) = ?\n\
             23073 +++ killed by SIGKILL +++",
            died(Some("SIGKILL")),
        ),
        (
            "23073 mq_timedreceive(3</q>,  <unfinished ...>\n\
             23073 +++ killed by SIGTERM (core dumped) +++",
            died(Some("SIGTERM")),
        ),
        (
            "6402 mq_timedreceive(0<pipe:[321967]>,  <unfinished ...>",
            died(Some("SIGKILL")),
        ),
        (
            "18608 mq_timedreceive(0<pipe:[46718]>,  <detached ...>",
            died(Some("SIGKILL")),
        ),
        // What strace wrote as the return of a killed thread: a call's number, a register's bits,
        // and the return of another thread's call.
        (
            "2466 mq_timedreceive(-1, \"\"..., 8, [127], {tv_sec=1795600435, tv_nsec=0}) = 280\n\
             2466 +++ killed by SIGKILL +++",
            died(Some("SIGKILL")),
        ),
        (
            "4763 mq_timedreceive(-1, 0xffcf5080, 8, 0xffcf5074, NULL) = -1 (errno 18446744073709551336)\n\
             4763 +++ killed by SIGKILL +++",
            died(Some("SIGKILL")),
        ),
        (
            "15789 mq_timedreceive(-1, 0xffd3d080, 8, 0xffd3d074, NULL) = -1 EMSGSIZE (Message too long)\n\
             15789 +++ killed by SIGKILL +++",
            died(Some("SIGKILL")),
        ),
        (
            "13820 mq_timedreceive(-1, )             = ? <unavailable>\n\
             13820 +++ killed by SIGKILL +++",
            died(Some("SIGKILL")),
        ),
        (
            "23073 mq_timedsend(3</q>, \"\"..., 8, 1, NULL) = 0\n\
             23073 +++ killed by SIGTERM +++",
            Outcome::Value(0),
        ),
    ];
    for (text, outcome) in table {
        assert_eq!(only(text)?.outcome, outcome, "{text}");
    }
    Ok(())
}

#[test]
fn calls_before_a_killed_threads_last_have_returned() -> Result<()> {
    let calls = parse(
        "15789 mq_timedreceive(3</q>, \"\"..., 8, [2], NULL) = 8\n\
         15789 mq_timedreceive(3</q>,  <unfinished ...>) = ?\n\
         15789 +++ killed by SIGKILL +++",
    )?;
    let outcomes: Vec<_> = calls.into_iter().map(|call| call.outcome).collect();
    let killed = Outcome::Died(Some("SIGKILL".to_owned()));
    assert_eq!(outcomes, [Outcome::Value(8), killed]);
    Ok(())
}

#[test]
fn what_is_no_call_is_an_error() {
    for text in [
        "garbage",
        "1 <... mq_open resumed>) = 3",
        "1 mq_unlink(\"q\"",
        "1 mq_unlink(\"q\" <unfinished ...>\n1 mq_unlink(\"q\") = 0",
        "1 mq_unlink(\"q\") = x",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}
