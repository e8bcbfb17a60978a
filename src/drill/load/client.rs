//! A client: one keep-alive connection to the gateway, made anew when it is gone.
//!
//! Nothing here retries: what goes wrong is what a client would have seen.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::request::Builder;
use http::{Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::drill::content::ContentBody;
use crate::task::Tasks;

/// How long a connection may take to be made; the gateway is on this machine.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long the next piece of a body may take.
const PIECE_LIMIT: Duration = Duration::from_secs(30);
/// The largest answer that is read as a whole, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// One keep-alive connection.
pub(in crate::drill) struct Client {
    address: SocketAddr,
    tasks: Tasks,
    sender: Option<SendRequest<ContentBody>>,
}

impl Client {
    /// Starts without a connection.
    pub(in crate::drill) fn new(address: SocketAddr, tasks: Tasks) -> Self {
        Self { address, tasks, sender: None }
    }

    /// Sends a request and waits for the head of the answer, at most `patience`.
    ///
    /// # Errors
    ///
    /// There is no answer; the text says why.
    pub(in crate::drill) async fn send(
        &mut self,
        request: Builder,
        body: ContentBody,
        patience: Duration,
    ) -> Result<Response<Incoming>, String> {
        let request = request.header(header::HOST, self.address.to_string()).body(body);
        let request = request.map_err(|error| format!("the request cannot be built: {error}"))?;
        let mut sender = self.connection().await?;
        let answer = tokio::time::timeout(patience, sender.send_request(request)).await;
        let answer = answer.map_err(|_| format!("no answer within {patience:?}"))?;
        let answer = answer.map_err(|error| format!("no answer: {}", chain(&error)))?;
        // Without it the next request makes a connection of its own.
        self.sender = Some(sender);
        Ok(answer)
    }

    /// Asks for something small and returns the body of a 200.
    ///
    /// # Errors
    ///
    /// There is none; the text says why.
    pub(in crate::drill) async fn fetch(&mut self, path: &str, patience: Duration) -> Result<Bytes, String> {
        let answer = self.send(Request::get(path), ContentBody::empty(), patience).await?;
        let status = answer.status();
        let body = self.whole(answer, patience).await?;
        if status.is_success() { Ok(body) } else { Err(format!("{path}: {status}")) }
    }

    /// Reads the whole body of an answer, at most `patience`.
    ///
    /// # Errors
    ///
    /// It is too large or breaks off; the text says why.
    pub(in crate::drill) async fn whole(
        &mut self,
        answer: Response<Incoming>,
        patience: Duration,
    ) -> Result<Bytes, String> {
        let body = http_body_util::Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect();
        match tokio::time::timeout(patience, body).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) => {
                self.leave();
                Err(format!("the answer broke off: {}", chain(&*error)))
            }
            Err(_) => {
                self.leave();
                Err(format!("the answer took longer than {patience:?}"))
            }
        }
    }

    /// Returns the next piece of a body; `None` at its end.
    ///
    /// # Errors
    ///
    /// It breaks off; the text says why.
    pub(in crate::drill) async fn piece(&mut self, body: &mut Incoming) -> Result<Option<Bytes>, String> {
        let piece = async {
            loop {
                match body.frame().await {
                    None => return Ok(None),
                    Some(Ok(frame)) => {
                        if let Ok(bytes) = frame.into_data() {
                            return Ok(Some(bytes));
                        }
                    }
                    Some(Err(error)) => return Err(chain(&error)),
                }
            }
        };
        tokio::time::timeout(PIECE_LIMIT, piece)
            .await
            .unwrap_or_else(|_| Err(format!("no byte for {PIECE_LIMIT:?}")))
    }

    /// Gives the connection up, whose answer is not wanted any more.
    pub(in crate::drill) fn leave(&mut self) {
        self.sender = None;
    }

    async fn connection(&mut self) -> Result<SendRequest<ContentBody>, String> {
        if let Some(mut sender) = self.sender.take()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let connect = async {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(stream)
        };
        let stream = tokio::time::timeout(CONNECT_LIMIT, connect).await;
        let stream = stream.map_err(|_| format!("no connection within {CONNECT_LIMIT:?}"))?;
        let stream = stream.map_err(|error| format!("no connection: {error}"))?;
        let made = handshake(TokioIo::new(stream)).await;
        let (sender, connection) = made.map_err(|error| format!("no connection: {}", chain(&error)))?;
        // How a connection ends is what its requests are told.
        drop(self.tasks.spawn("drill connection", async move { drop(connection.await) }));
        Ok(sender)
    }
}

/// Returns an error with all of its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
