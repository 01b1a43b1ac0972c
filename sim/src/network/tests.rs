use std::future::poll_fn;
use std::task::Poll;

use super::socket::Frame;
use super::*;
use crate::executor::Executor;
use futures_util::StreamExt;

const SIZES: Sizes = Sizes {
    segment: 7,
    send_buffer: 40,
    window: 30,
};

fn world(seed: u64) -> (Executor, Node, Network) {
    let executor = Executor::new(Rng::with_seed(seed));
    let node = executor.node(0);
    let rng = Rng::with_seed(seed);
    let network = Network::new(node.clone(), rng, Duration::from_millis(5), SIZES);
    (executor, node, network)
}

async fn send(socket: &mut Socket, text: &str) {
    socket.push(&Frame::Text(text.to_owned()));
    poll_fn(|cx| socket.poll_drain(cx)).await.unwrap();
}

async fn receive(socket: &mut Socket) -> Option<Frame> {
    poll_fn(|cx| socket.poll_frame(cx)).await
}

/// Settings in which these faults strike often.
fn faults(faults: &[Fault]) -> Settings {
    let mut settings = Settings::draw(1);
    for (fault, chance) in &mut settings.faults {
        *chance = if faults.contains(fault) { 0.2 } else { 0.0 };
    }
    settings
}

#[test]
fn messages_arrive_once_and_in_order_whatever_happens_to_packets() {
    let kinds = [
        Fault::PacketLost,
        Fault::PacketDelayed,
        Fault::PacketReordered,
        Fault::PacketDoubled,
    ];
    for seed in 0..40 {
        let (executor, node, network) = world(seed);
        network.set_faults(Some(faults(&kinds)));
        let main = node.clone();
        let run = executor.run(&node, Duration::from_secs(600), async move {
            let mut accepted = network.listen(SERVER, main.sibling(0));
            let mut client = network.connect(1, &main, SERVER);
            let texts: Vec<_> = (0..20).map(|n| "x".repeat(n * 3)).collect();
            let sent = texts.clone();
            main.spawn(Box::pin(async move {
                for text in &sent {
                    send(&mut client, text).await;
                }
            }));
            let mut server = accepted.next().await.unwrap();
            let mut received = Vec::new();
            while let Some(Frame::Text(text)) = receive(&mut server).await {
                received.push(text);
            }
            assert_eq!(received, texts);
            network.report()
        });
        let report = run.unwrap();
        for kind in kinds {
            assert!(report.faults.contains_key(&kind), "seed {seed}: {kind:?}");
        }
    }
}

#[test]
fn a_reader_that_does_not_read_holds_the_writer_up() {
    let (executor, node, network) = world(1);
    let main = node.clone();
    let run = executor.run(&node, Duration::from_secs(600), async move {
        let mut accepted = network.listen(SERVER, main.sibling(0));
        let mut client = network.connect(1, &main, SERVER);
        client.push(&Frame::Text(
            "x".repeat(SIZES.send_buffer + SIZES.window + 20),
        ));
        let mut server = accepted.next().await.unwrap();
        main.sleep(Duration::from_secs(100)).await;
        for _ in 0..2 {
            let drained = poll_fn(|cx| Poll::Ready(client.poll_drain(cx).is_ready())).await;
            assert!(!drained, "one buffer, one window, and no more");
            main.sleep(Duration::from_secs(100)).await;
        }
        let (drained, frame) =
            futures_util::future::join(poll_fn(|cx| client.poll_drain(cx)), receive(&mut server))
                .await;
        drained.unwrap();
        assert!(matches!(frame, Some(Frame::Text(text)) if text.len() == 90));
    });
    run.unwrap();
}

#[test]
fn a_server_that_has_started_anew_knows_no_connections() {
    let (executor, node, network) = world(1);
    let main = node.clone();
    let run = executor.run(&node, Duration::from_secs(600), async move {
        let mut accepted = network.listen(SERVER, main.sibling(0));
        let mut client = network.connect(1, &main, SERVER);
        send(&mut client, "hello").await;
        let mut server = accepted.next().await.unwrap();
        assert_eq!(
            receive(&mut server).await,
            Some(Frame::Text("hello".into()))
        );
        network.crash(SERVER);
        let _accepted = network.listen(SERVER, main.sibling(0));
        send(&mut client, "again").await;
        assert_eq!(receive(&mut client).await, None);
    });
    run.unwrap();
}

#[test]
fn a_connection_that_vanished_is_given_up_by_whoever_writes() {
    let (executor, node, network) = world(1);
    let main = node.clone();
    let run = executor.run(&node, Duration::from_secs(600), async move {
        let mut accepted = network.listen(SERVER, main.sibling(0));
        let mut client = network.connect(1, &main, SERVER);
        send(&mut client, "hello").await;
        let _server = accepted.next().await.unwrap();
        assert!(network.vanish(1));
        assert!(!network.vanish(1), "it vanishes once");
        send(&mut client, "anybody there?").await;
        let before = main.monotonic();
        assert_eq!(receive(&mut client).await, None);
        assert!(main.monotonic() - before > Duration::from_secs(20));
    });
    run.unwrap();
}
