//! An answer that comes before all of a request was sent: a server that refuses a long body stops reading it, and its answer says
//! more than the write that fails.

use std::io::ErrorKind;
use ureq::{
    Agent, Error,
    config::Config,
    unversioned::{
        resolver::DefaultResolver,
        transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport},
    },
};

/// An agent that connects this way, and reads an answer that comes early.
pub fn agent(config: Config, connector: impl Connector) -> Agent {
    Agent::with_parts(config, connector.chain(EarlyAnswers), DefaultResolver::default())
}

#[derive(Debug)]
struct EarlyAnswers;

impl<In: Transport> Connector<In> for EarlyAnswers {
    type Out = EarlyAnswer<In>;

    fn connect(&self, _: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|transport| EarlyAnswer { transport, is_unread: false }))
    }
}

#[derive(Debug)]
struct EarlyAnswer<T> {
    transport: T,
    /// Has the other side stopped reading?
    is_unread: bool,
}

impl<T: Transport> Transport for EarlyAnswer<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if self.is_unread {
            return Ok(());
        }
        match self.transport.transmit_output(amount, timeout) {
            Err(Error::Io(error))
                if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) =>
            {
                self.is_unread = true;
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.transport.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        !self.is_unread && self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread,
    };
    use ureq::unversioned::transport::DefaultConnector;

    #[test]
    fn answer_of_a_server_that_stops_reading_a_long_body_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let server = thread::spawn(move || {
            let (mut caller, _) = listener.accept().expect("a caller");
            let read = caller.read(&mut [0; 1024]).expect("the beginning");
            caller.write_all(b"HTTP/1.1 413 No\r\ncontent-length: 2\r\n\r\nno").expect("written");
            read
        });
        let config = Agent::config_builder().http_status_as_error(false).build();
        let agent = agent(config, DefaultConnector::default());
        let mut answer = agent.post(url).send("x".repeat(16 << 20)).expect("an answer");
        assert_eq!(answer.status().as_u16(), 413);
        assert_eq!(answer.body_mut().read_to_string().expect("text"), "no");
        assert!(0 < server.join().expect("ends"));
    }
}
