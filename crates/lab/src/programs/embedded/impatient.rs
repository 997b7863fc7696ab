//! Connections on which one try takes a bounded time. The recursor gives a whole look-up five
//! seconds and its first try just as long, so that a name server which is cut off without a word
//! fails the look-up although its neighbour would answer. Here a try ends after [`TRY`], and the
//! neighbour gets its turn.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt};
use hickory_proto::op::{DnsRequest, DnsResponse};
use hickory_resolver::config::ConnectionConfig;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsHandle, NetError};
use hickory_resolver::{ConnectionProvider, PoolContext};
use tokio::time::timeout;

/// How long a name server may take for one answer: BIND's first patience.
const TRY: Duration = Duration::from_millis(800);

type Inner = <TokioRuntimeProvider as ConnectionProvider>::Conn;

/// Makes connections of tokio's that do not wait longer than [`TRY`].
#[derive(Clone, Default)]
pub(super) struct Impatient(TokioRuntimeProvider);

/// One such connection.
#[derive(Clone)]
pub(super) struct Connection(Inner);

impl ConnectionProvider for Impatient {
    type Conn = Connection;
    type FutureConn = Pin<Box<dyn Future<Output = Result<Connection, NetError>> + Send>>;
    type RuntimeProvider = TokioRuntimeProvider;

    fn new_connection(
        &self,
        ip: IpAddr,
        config: &ConnectionConfig,
        cx: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        let connecting = self.0.new_connection(ip, config, cx)?;
        Ok(Box::pin(async move {
            let connected = timeout(TRY, connecting).await.map_err(|_| NetError::Timeout)?;
            connected.map(Connection)
        }))
    }

    fn runtime_provider(&self) -> &TokioRuntimeProvider {
        &self.0
    }
}

impl DnsHandle for Connection {
    type Response = Pin<Box<dyn Stream<Item = Result<DnsResponse, NetError>> + Send>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let mut answers = self.0.send(request);
        let first = async move {
            match timeout(TRY, answers.next()).await {
                Ok(answer) => answer.unwrap_or(Err(NetError::NoConnections)),
                Err(_) => Err(NetError::Timeout),
            }
        };
        Box::pin(stream::once(first))
    }
}
