//! Crowds of connections that say nothing, and peers that are far away.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jointoken::peers::peer_address;
use jointoken::store::PeerAddress;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::world::{Served, World, ask_until_answered, echo, identity};

/// From one end to the other.
const DISTANCE: Duration = Duration::from_millis(150);

fn loopback(last: u8) -> IpAddr {
    [127, 0, 0, last].into()
}

async fn connect_from(source: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(to).await
}

/// A thousand connections a second from these addresses in turn. Each is held on to for as long as it can be.
fn crowd(tasks: &mut JoinSet<()>, sources: Vec<IpAddr>, to: SocketAddr) {
    tasks.spawn(async move {
        let mut held = VecDeque::new();
        let mut pace = interval(Duration::from_millis(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for source in sources.iter().cycle() {
            pace.tick().await;
            held.extend(connect_from(*source, to).await);
            if held.len() > 300 {
                held.pop_front();
            }
        }
    });
}

/// A way from `listener` to `to` that is long, and ends at `source`.
fn long_way(tasks: &mut JoinSet<()>, listener: TcpListener, source: IpAddr, to: SocketAddr) {
    tasks.spawn(async move {
        let mut ways = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            ways.spawn(async move {
                // A connection arrives together with the first that is said on it.
                let mut first = [0; 16 * 1024];
                let read = client.read(&mut first).await?;
                sleep_until(Instant::now() + DISTANCE).await;
                let mut server = connect_from(source, to).await?;
                server.write_all(&first[..read]).await?;
                client.set_nodelay(true)?;
                server.set_nodelay(true)?;
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::select! {
                    () = carry(from_client, to_server) => (),
                    () = carry(from_server, to_client) => (),
                }
                std::io::Result::Ok(())
            });
        }
    });
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let (send, mut sent) = mpsc::unbounded_channel();
    let reading = async {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let _ = send.send((Instant::now() + DISTANCE, buffer[..read].to_vec()));
        }
    };
    let writing = async {
        while let Some((due, bytes)) = sent.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => (),
        () = writing => (),
    }
}

/// A replica whose address is at the other end of a long way that ends at `source`.
async fn far_away(
    world: &World,
    tasks: &mut JoinSet<()>,
    source: IpAddr,
) -> (Served, PeerAddress, SocketAddr) {
    let way = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = way.local_addr().unwrap().to_string();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap();
    let served = world.serve_as(listener, identity(&world.ca, &address), echo());
    long_way(tasks, way, source, port);
    (served, peer_address(&address).unwrap(), port)
}

/// Two replicas connect to each other while a crowd of these addresses connects to both, again and again.
async fn peers_meet(peers: [u8; 2], crowd_of: &[u8]) {
    let world = World::new();
    let mut tasks = JoinSet::new();
    let mut replicas = Vec::new();
    for peer in peers {
        let replica = far_away(&world, &mut tasks, loopback(peer)).await;
        let sources = crowd_of.iter().copied().map(loopback).collect();
        crowd(&mut tasks, sources, replica.2);
        replicas.push(replica);
    }
    let (one, other) = (world.transport(), world.transport());
    // Not before the crowd has all that it can have.
    for (_, _, port) in &replicas {
        turned_away(*port, loopback(crowd_of[0])).await;
    }
    tokio::join!(
        ask_until_answered(&one, &replicas[0].1),
        ask_until_answered(&other, &replicas[1].1),
    );
    tasks.shutdown().await;
}

/// Until somebody is hung up on who has said nothing.
async fn turned_away(port: SocketAddr, source: IpAddr) {
    let mut silent = connect_from(source, port).await.unwrap();
    let mut said = Vec::new();
    let _ = crate::world::soon(silent.read_to_end(&mut said)).await;
}

#[tokio::test]
async fn a_crowd_of_one_address_keeps_no_peers_apart() {
    peers_meet([201, 202], &[1]).await;
}

#[tokio::test]
async fn a_crowd_of_eight_addresses_keeps_no_peers_apart() {
    peers_meet([201, 202], &[1, 2, 3, 4, 5, 6, 7, 8]).await;
}

/// What a peer says at once puts it before those of its own address who say nothing.
#[tokio::test]
async fn nor_does_a_crowd_of_their_own_address() {
    peers_meet([1, 1], &[1]).await;
}
