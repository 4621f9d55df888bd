//! What the gate needs beyond `portcullis_tests`: emulators of AWS, with AWS's own clients to ask them.

#![expect(clippy::missing_panics_doc, reason = "a proof that does not hold panics")]

pub mod aws;
