//! A channel: who listens, and the bytes that are due to them.

use std::collections::VecDeque;

/// How many messages a long poll may have missed.
const KEPT: usize = 1_024;

/// How a client wants its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    WebSocket,
    Sse,
    Ndjson,
    Poll,
}

impl Form {
    pub(super) const ALL: [Form; 4] = [Form::WebSocket, Form::Sse, Form::Ndjson, Form::Poll];
}

/// One channel.
#[derive(Default)]
pub(super) struct Channel {
    /// The clients that listen, by form.
    pub(super) subscribers: [Vec<u32>; 4],
    /// What is due to them, by form. For long polls: the bodies.
    due: [Vec<u8>; 4],
    /// The newest messages.
    kept: VecDeque<Vec<u8>>,
    /// How many messages there were.
    count: u64,
}

impl Channel {
    /// Takes in a message. True if nothing else is due.
    pub(super) fn publish(&mut self, payload: &[u8]) -> bool {
        let is_first = self.due.iter().all(Vec::is_empty);
        for form in Form::ALL {
            if !self.subscribers[form as usize].is_empty() {
                frame(&mut self.due[form as usize], form, payload);
            }
        }
        self.count += 1;
        self.kept.push_back(payload.to_vec());
        if self.kept.len() > KEPT {
            self.kept.pop_front();
        }
        is_first
    }

    /// Who is due what. Long polls are answered once.
    pub(super) fn take(&mut self, form: Form) -> (Vec<u32>, Vec<u8>) {
        let due = std::mem::take(&mut self.due[form as usize]);
        if due.is_empty() {
            return (Vec::new(), due);
        }
        let subscribers = std::mem::take(&mut self.subscribers[form as usize]);
        let bytes = if form == Form::Poll { page(self.count, &due) } else { due };
        (subscribers, bytes)
    }

    /// Gives back what [`Channel::take`] took.
    pub(super) fn put_back(&mut self, form: Form, subscribers: Vec<u32>) {
        if form != Form::Poll && !subscribers.is_empty() {
            self.subscribers[form as usize] = subscribers;
        }
    }

    /// The answer to a long poll that has everything up to `since`, if there is more.
    pub(super) fn page_after(&self, since: u64) -> Option<Vec<u8>> {
        let missing = usize::try_from(self.count.checked_sub(since)?).ok()?.min(self.kept.len());
        let messages = self.kept.range(self.kept.len() - missing..);
        let body: Vec<u8> = messages.flat_map(|message| message.iter().chain(b"\n")).copied().collect();
        (!body.is_empty()).then(|| page(self.count, &body))
    }
}

fn page(cursor: u64, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nCursor: {cursor}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn frame(bytes: &mut Vec<u8>, form: Form, payload: &[u8]) {
    match form {
        Form::WebSocket if payload.len() < 126 => bytes.extend([0x81, payload.len() as u8]),
        Form::WebSocket => {
            bytes.extend([0x81, 126]);
            bytes.extend((payload.len() as u16).to_be_bytes());
        }
        Form::Sse => bytes.extend(format!("{:x}\r\ndata: ", payload.len() + 8).into_bytes()),
        Form::Ndjson => bytes.extend(format!("{:x}\r\n", payload.len() + 1).into_bytes()),
        Form::Poll => {}
    }
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(match form {
        Form::WebSocket => b"",
        Form::Sse => b"\n\n\r\n",
        Form::Ndjson => b"\n\r\n",
        Form::Poll => b"\n",
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_piles_up_is_taken_at_once() {
        let mut channel = Channel::default();
        channel.subscribers[Form::Ndjson as usize].push(7);
        assert!(channel.publish(b"{}"));
        assert!(!channel.publish(b"[]"));
        let (subscribers, bytes) = channel.take(Form::Ndjson);
        assert_eq!(
            (subscribers.as_slice(), bytes.as_slice()),
            ([7].as_slice(), b"3\r\n{}\n\r\n3\r\n[]\n\r\n".as_slice())
        );
        channel.put_back(Form::Ndjson, subscribers);
        assert_eq!(channel.subscribers[Form::Ndjson as usize], [7]);
        assert!(channel.take(Form::Sse).1.is_empty());
    }

    #[test]
    fn a_late_poll_gets_what_it_missed() {
        let mut channel = Channel::default();
        assert_eq!(channel.page_after(0), None);
        channel.publish(b"1");
        channel.publish(b"2");
        let page = String::from_utf8(channel.page_after(1).unwrap()).unwrap();
        assert!(page.ends_with("Cursor: 2\r\nContent-Length: 2\r\n\r\n2\n"), "{page}");
        assert_eq!(channel.page_after(2), None);
    }
}
