//! Files of the data folder that both halves of the program know.

/// The operator's token.
pub const TOKEN_FILE: &str = "token";
/// The operator's socket.
pub const SOCKET_FILE: &str = "portcullis.sock";
