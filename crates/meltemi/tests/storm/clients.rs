//! Clients of both versions, which stay or leave.

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::{body::Frame, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::mpsc, time::timeout};

use super::{Exchange, Manner, Outcome, Patience, bytes};

#[derive(Debug, Clone, Copy)]
pub(crate) enum Version {
    Http1,
    Http2,
}

type Body = StreamBody<tokio_stream::wrappers::ReceiverStream<Result<Frame<Bytes>, Infallible>>>;

enum Sender {
    Http1(conn::http1::SendRequest<Body>),
    Http2(conn::http2::SendRequest<Body>),
}

/// A client that keeps its connection while that is good.
pub(crate) struct Client {
    version: Version,
    to: SocketAddr,
    sender: Option<Sender>,
}

impl Client {
    pub(crate) fn new(version: Version, to: SocketAddr) -> Self {
        Self { version, to, sender: None }
    }

    /// One exchange, to whatever end.
    pub(crate) async fn run(&mut self, exchange: &Exchange) -> Outcome {
        let outcome = match exchange.patience {
            Patience::Leaves(after) => {
                let limit = Duration::from_millis(after);
                timeout(limit, self.exchange(exchange)).await.unwrap_or(Outcome::Left)
            }
            _ => self.exchange(exchange).await,
        };
        // A proxy closes a connection of HTTP/1.1 whose request was answered before it was whole.
        let early = matches!(exchange.manner, Manner::Early | Manner::EarlyClose) && exchange.upload > 0;
        let good = matches!(outcome, Outcome::Answered(..)) && !early;
        if !good && matches!(self.version, Version::Http1) {
            self.sender = None;
        }
        outcome
    }

    async fn connect(&mut self) -> io::Result<()> {
        let good = match &mut self.sender {
            Some(Sender::Http1(sender)) => sender.ready().await.is_ok(),
            Some(Sender::Http2(sender)) => sender.ready().await.is_ok(),
            None => false,
        };
        if good {
            return Ok(());
        }
        let stream = TokioIo::new(TcpStream::connect(self.to).await?);
        self.sender = Some(match self.version {
            Version::Http1 => {
                let (sender, connection) = conn::http1::handshake(stream).await.map_err(io::Error::other)?;
                tokio::spawn(connection);
                Sender::Http1(sender)
            }
            Version::Http2 => {
                let (sender, connection) =
                    conn::http2::handshake(TokioExecutor::new(), stream).await.map_err(io::Error::other)?;
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        });
        Ok(())
    }

    async fn exchange(&mut self, exchange: &Exchange) -> Outcome {
        if let Err(error) = self.connect().await {
            return Outcome::Broken(error.to_string());
        }
        let (feed, body) = mpsc::channel(1);
        let request = Request::post(format!("http://storm.test{}", exchange.path()))
            .header("host", "storm.test")
            .header("content-length", exchange.upload)
            .body(StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(body)))
            .unwrap();
        let answer = match self.sender.as_mut().expect("connected") {
            Sender::Http1(sender) => futures_util::future::Either::Left(sender.send_request(request)),
            Sender::Http2(sender) => futures_util::future::Either::Right(sender.send_request(request)),
        };
        let upload = Bytes::from(bytes(exchange.seed + 1, exchange.upload));
        let stops = exchange.patience == Patience::StopsSending && exchange.upload > 0;
        let wanted = if stops { upload.len() / 2 } else { upload.len() };
        let sending = async {
            let mut sent = 0;
            while sent < wanted {
                let part = upload.slice(sent..wanted.min(sent + 16_000));
                sent += part.len();
                if feed.send(Ok(Frame::data(part))).await.is_err() {
                    break;
                }
            }
            if stops {
                // The body's end must not be seen, nor what is missing of it.
                std::future::pending::<()>().await;
            }
            drop(feed);
            std::future::pending::<()>().await;
        };
        let reading = async {
            let (head, mut body) = answer.await.map_err(|error| format!("{error:?}"))?.into_parts();
            let mut read = Vec::new();
            while let Some(frame) = body.frame().await {
                if let Some(data) = frame.map_err(|error| format!("{error:?}"))?.data_ref() {
                    read.extend_from_slice(data);
                }
                if exchange.patience == Patience::StopsReading {
                    return Ok(Outcome::Left);
                }
            }
            Ok(Outcome::Answered(head.status.as_u16(), read))
        };
        let given_up = async {
            if stops {
                tokio::time::sleep(Duration::from_millis(20)).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            outcome = reading => outcome.unwrap_or_else(Outcome::Broken),
            () = given_up => Outcome::Left,
            () = sending => unreachable!("it does not end by itself"),
        }
    }
}
