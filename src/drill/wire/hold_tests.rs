use std::sync::atomic::Ordering;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::*;
use crate::drill::wire::stub::Rig;
use crate::drill::wire::{Fault, Rule};

const PUT: &[u8] = b"PUT /c/names/x.put HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab";

/// Sends a PUT by a client that can be killed.
async fn put(rig: &Rig) -> TcpStream {
    let mut client = TcpStream::connect(rig.wire.address()).await.unwrap();
    client.write_all(PUT).await.unwrap();
    client
}

fn written(rig: &Rig) -> usize {
    rig.stub.handler().written.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_client_that_dies_at_a_hold_leaves_all_or_nothing_behind() {
    for (moment, expected) in [(Moment::BeforeEffect, 0), (Moment::AfterEffect, 1)] {
        let rig = Rig::new(1).await;
        let (hold, mut held) = Hold::at(moment);
        rig.wire.inject(Rule::from(Fault::Hold(hold)).methods(&["PUT"]).prefix("names/").suffix(".put"));
        assert_eq!(rig.ask("GET", "/c/names/x.put", "").await.status, 200, "others pass");
        assert_eq!(rig.ask("GET", "/c/names/x.del", "").await.status, 200, "others pass");
        let client = put(&rig).await;
        let seen = held.next().await.unwrap();
        assert_eq!((seen.method.as_str(), seen.key.as_str()), ("PUT", "names/x.put"));
        assert_eq!(written(&rig), expected, "{moment:?}");
        drop(client);
        rig.wire.clear();
        assert_eq!(held.next().await, None, "the request is dropped with its client");
        assert_eq!((written(&rig), rig.wire.counts().struck), (expected, 1), "{moment:?}");
    }
}

#[tokio::test]
async fn what_is_held_goes_on_when_it_is_let_go() {
    for moment in [Moment::BeforeEffect, Moment::AfterEffect] {
        let rig = Rig::new(1).await;
        let (hold, mut held) = Hold::at(moment);
        rig.wire.inject(Rule::from(Fault::Hold(hold)).skip(1).times(1));
        assert_eq!(rig.get("").await.status, 200, "the first one is skipped");
        let (answer, ()) = tokio::join!(rig.get(""), async {
            held.next().await.unwrap();
            drop(held);
        });
        assert_eq!((answer.status, answer.end), (200, "ended"), "{moment:?}");
        assert_eq!(rig.get("").await.status, 200, "only one is held");
    }
}
