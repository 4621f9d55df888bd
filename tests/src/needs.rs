//! What tests need of the machine that they run on. Such a test is ignored unless it is asked for, with a reason that begins with
//! `needs`: who runs it all the same promises that all of it is here, and a test that cannot be run fails.

/// Ends a test for which something is not here.
pub fn lacking(what: &str, why: &str) -> ! {
    panic!("this test needs {what}, which is not here: {why}")
}
