//! The functions, the table and the command line on emulators of AWS.

mod contracts;
mod contracts_wire;
mod deployed_cli;
mod e2e_aws;
mod e2e_aws_faults;
mod emulators;
mod readme_aws;
mod template;
