//! Plain tables in memory, without a lock, a thread or a promise: what a store in memory is measured against.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use dunlin_benches::queues::{GROUP, SESSIONS, number_in, payload};

use crate::{Contents, Retained, Store};

pub(crate) struct Tables {
    queues: Vec<VecDeque<Arc<[u8]>>>,
    retained: std::collections::HashMap<String, Arc<[u8]>>,
}

fn number(payload: &Arc<[u8]>) -> u64 {
    number_in(payload).expect("whole")
}

impl Store for Tables {
    const NAME: &'static str = "plain tables";
    const IS_DURABLE: bool = false;

    fn open(_: &Path) -> Self {
        Self {
            queues: vec![VecDeque::new(); SESSIONS as usize],
            retained: std::collections::HashMap::new(),
        }
    }

    fn enqueue(&mut self, numbers: &[u64], sessions: u32) {
        for number in numbers {
            let payload: Arc<[u8]> = payload(*number).into();
            for queue in self.queues.iter_mut().take(sessions as usize) {
                queue.push_back(Arc::clone(&payload));
            }
        }
    }

    fn take(&mut self, session: u32) -> Vec<u64> {
        let queue = &mut self.queues[session as usize];
        let count = queue.len().min(GROUP);
        queue.drain(..count).map(|payload| number(&payload)).collect()
    }

    fn retain(&mut self, messages: &[(String, u64)]) {
        for (topic, number) in messages {
            self.retained.insert(topic.clone(), payload(*number).into());
        }
    }

    fn contents(&mut self) -> Contents {
        self.queues.iter().map(|queue| queue.iter().map(number).collect()).collect()
    }

    fn retained(&mut self) -> Retained {
        self.retained.iter().map(|(topic, payload)| (topic.clone(), number(payload))).collect()
    }
}
