//! Large transitions in pieces, so that each piece resets the client's inactivity timer on a slow link.

use super::outcome::quote;
use super::server_message::ServerMessage;

/// Cuts the text of a transition into `TransitionChunk` messages of at most `chunk_bytes` of it each, at character
/// boundaries. `id` tells this transition from others on the connection.
///
/// # Panics
/// If `chunk_bytes` cannot hold every character, that is, below 4.
pub(super) fn split(text: &str, chunk_bytes: usize, id: &str) -> Vec<String> {
    assert!(chunk_bytes >= 4, "a chunk holds at least one character");
    let mut pieces = Vec::with_capacity(text.len() / chunk_bytes + 1);
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(rest.floor_char_boundary(chunk_bytes));
        pieces.push(piece);
        rest = tail;
    }
    let total = pieces.len();
    let id = quote(id);
    pieces
        .iter()
        .enumerate()
        .map(|(number, piece)| {
            format!(
                r#"{{"type":"TransitionChunk","chunk":{},"partNumber":{number},"totalParts":{total},"transitionId":{id}}}"#,
                quote(piece)
            )
        })
        .collect()
}

/// The receiving side: puts chunks together again, as strictly as the strictest client.
#[derive(Debug, Default)]
pub struct ChunkAssembler {
    text: String,
    /// Transition, next part and number of parts, while a transition is incomplete.
    expected: Option<(String, u32, u32)>,
}

impl ChunkAssembler {
    /// Takes the next message from the server. Gives it back, or the whole transition once the last chunk is in,
    /// or nothing in between; fails on a sequence of messages that a client would not understand.
    pub fn push(&mut self, message: ServerMessage) -> Result<Option<ServerMessage>, String> {
        let ServerMessage::TransitionChunk {
            chunk,
            part_number,
            total_parts,
            transition_id,
        } = message
        else {
            if self.expected.is_some() && message != ServerMessage::Ping {
                return Err("a message between the chunks of a transition".to_owned());
            }
            return Ok(Some(message));
        };
        let fits = match &self.expected {
            None => part_number == 0 && total_parts >= 1,
            Some((id, next, total)) => {
                *id == transition_id && *next == part_number && *total == total_parts
            }
        };
        if !fits {
            return Err(format!(
                "chunk {part_number} of {total_parts} of {transition_id} instead of {:?}",
                self.expected
            ));
        }
        self.text.push_str(&chunk);
        if part_number + 1 < total_parts {
            self.expected = Some((transition_id, part_number + 1, total_parts));
            return Ok(None);
        }
        self.expected = None;
        let text = std::mem::take(&mut self.text);
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::server_message::{Modification, StateVersion, transition};
    use super::*;
    use crate::sync::QueryOutcome;
    use proptest::prelude::*;
    use std::sync::Arc;

    proptest! {
        #[test]
        fn chunks_assemble_to_the_transition(value in any::<String>(), chunk_bytes in 4usize..200) {
            let outcome = QueryOutcome::success(&quote(&value), &[], None);
            let text = transition(
                StateVersion::default(),
                StateVersion::default(),
                &[Modification::Result(7, Arc::new(outcome))],
                None,
            );
            let whole: ServerMessage = serde_json::from_str(&text).unwrap();
            let mut assembler = ChunkAssembler::default();
            let chunks = split(&text, chunk_bytes, "t-1");
            prop_assert!(chunks.len() >= text.len() / chunk_bytes);
            for (i, chunk) in chunks.iter().enumerate() {
                let message: ServerMessage = serde_json::from_str(chunk).unwrap();
                let ServerMessage::TransitionChunk { chunk, .. } = &message else { panic!() };
                prop_assert!(!chunk.is_empty() && chunk.len() <= chunk_bytes);
                prop_assert_eq!(assembler.push(ServerMessage::Ping).unwrap(), Some(ServerMessage::Ping));
                let expected = (i + 1 == chunks.len()).then(|| whole.clone());
                prop_assert_eq!(assembler.push(message).unwrap(), expected);
            }
        }
    }

    #[test]
    fn foreign_messages_between_chunks_are_noticed() {
        let chunks: Vec<ServerMessage> = split("{\"type\":\"Ping\"}", 4, "t")
            .iter()
            .map(|chunk| serde_json::from_str(chunk).unwrap())
            .collect();
        let fatal = ServerMessage::FatalError {
            error: String::new(),
        };
        let mut assembler = ChunkAssembler::default();
        assembler.push(chunks[0].clone()).unwrap();
        assert!(assembler.push(fatal).is_err());
        let mut assembler = ChunkAssembler::default();
        assert!(assembler.push(chunks[1].clone()).is_err());
        // Of another transition, out of order, or with another number of parts.
        let others = [
            split("{\"type\":\"Ping\"}", 4, "u")[1].clone(),
            split("{\"type\":\"Ping\"}", 4, "t")[2].clone(),
            split("{\"type\":\"Ping\"}", 8, "t")[1].clone(),
        ];
        for other in others {
            let mut assembler = ChunkAssembler::default();
            assembler.push(chunks[0].clone()).unwrap();
            let other = serde_json::from_str(&other).unwrap();
            assert!(assembler.push(other).is_err());
        }
    }
}
