//! Emulators of AWS: installed once into the target folder, started on loopback, gone with who started them.
//!
//! [`Local`] is AWS's own DynamoDB for developers, the judge of what a table does. [`Ministack`] is everything
//! else, with the functions as processes of this machine. [`Proxy`] breaks calls on their way to either; [`Wire`]
//! writes them down; [`StandIn`] answers instead of them.
//!
//! What ministack 1.5.33 does, and where it is not AWS:
//!
//! - A SAM template is deployed by change set in one or two seconds; an update replaces code whose address has
//!   changed. One with an `AWS::Events::Archive` is refused, so `deploy.py` leaves that out. A function is a process that is kept for the next call: 50 to 250 ms the first time, 5 ms after.
//!   It inherits ministack's own environment, and `AWS_ENDPOINT_URL` of it wins over the template's. What it
//!   prints is found in its log group at once.
//! - HTTP APIs serve explicit routes, under `/_aws/execute-api/<id>/<stage>` or by the name of the host.
//!   `sourceIp` is always 127.0.0.1, and `x-forwarded-for` is whatever the caller says.
//! - A function URL is served by the name of its host, whose suffix is AWS's. With `AWS_IAM` one that is not signed
//!   is refused (by [`Auth::Enforced`] one without leave too), but `requestContext.authorizer` is never there: who
//!   called is not told. A route of an HTTP API with `AuthorizationType: AWS_IAM` tells it.
//! - EventBridge to SQS to a function takes 35 to 80 ms, a table's stream to a function 30 to 55 ms.
//! - Of a queue's batch only what `batchItemFailures` names comes again, and after `maxReceiveCount` it is a dead
//!   letter; a redrive has to be made by hand. Of a stream's batch it is **not heeded**: a batch that is answered at all is done, so what failed is
//!   lost. Only a call that fails as a whole is tried again, after 1 s, without end and without bisecting;
//!   `MaximumRetryAttempts` is ignored. A batch older than `MaximumRecordAgeInSeconds` goes to the `OnFailure`
//!   destination. Filters are heeded.
//! - Schedules are looked at every 10 s, so `rate(1 minute)` comes up to 10 s late; the first time a minute after
//!   the deployment.
//! - `ClientRequestToken` of a transaction is kept: the same again succeeds and writes nothing, another one under
//!   the same token is an `IdempotentParameterMismatchException`. `CancellationReasons` are given.
//! - By [`Auth::Enforced`] signatures are verified, and each function has the session keys of its own role; a call
//!   that the role does not allow is an `AccessDeniedException`. A transaction needs leave for each of its writes.
//!   The key `test` is root. Policies of queues and buses are not checked.
//! - Metrics printed in the embedded metric format stay lines in the log, and queues and functions count nothing: no metric
//!   and so no alarm comes of them. An alarm that is put to the test by hand goes off whatever its dimensions say.
//! - `sts:GetWebIdentityToken` checks audience, algorithm and duration, but the token is signed with HS256 by
//!   nobody's key, of `https://sts.amazonaws.com`, and its subject is root, whoever asks.
//! - `PutEvents` accepts what is too large, no JSON, and buses that are not there; more than ten are refused.
//! - Point-in-time recovery and time to live in templates are ignored.

mod binaries;
mod install;
mod microburst;
mod ministack;
mod process;
mod queues;
mod stack;
mod stand_in;
mod table;
mod units;
mod wire;

pub use binaries::function;
pub use microburst::{Fault, Proxy};
pub use ministack::{Auth, Key, Ministack, Refused};
pub use queues::{Ear, HeardBus};
pub use stack::{Answered, Stack, cloud};
pub use stand_in::StandIn;
pub use table::{Local, Table, dynamodb};
pub use units::{Units, of_a_transaction, units};
pub use wire::{Call, Wire};
