//! Properties that were checked before, read once more.

use crate::{error::Fault, primitive::Reader, property::id};

/// The properties with one identifier among checked ones, each with its identifier byte.
#[derive(Clone, Debug)]
pub(crate) struct RawProperties<'a> {
    rest: Reader<'a>,
    id: u8,
}

impl<'a> RawProperties<'a> {
    #[inline]
    pub(crate) const fn of(block: &'a [u8], id: u8) -> Self {
        Self { rest: Reader::new(block, block.len()), id }
    }

    #[inline]
    fn step(&mut self) -> Result<(u8, &'a [u8]), Fault> {
        let before = self.rest.rest();
        let id = self.rest.u8()?;
        skip_value(&mut self.rest, id)?;
        let len = before.len() - self.rest.rest().len();
        Ok((id, before.get(..len).unwrap_or_default()))
    }
}

impl<'a> Iterator for RawProperties<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            // The block was checked before, so nothing fails here.
            let (id, property) = self.step().ok()?;
            if id == self.id {
                return Some(property);
            }
        }
        None
    }
}

/// Skips the value of a property that was checked before.
#[inline]
fn skip_value(reader: &mut Reader<'_>, id: u8) -> Result<(), Fault> {
    match id {
        id::USER_PROPERTY => {
            reader.binary()?;
            reader.binary()?;
        }
        id::SUBSCRIPTION_IDENTIFIER => {
            reader.varint()?;
        }
        id::PAYLOAD_FORMAT_INDICATOR
        | id::REQUEST_PROBLEM_INFORMATION
        | id::REQUEST_RESPONSE_INFORMATION
        | id::MAXIMUM_QOS
        | id::RETAIN_AVAILABLE
        | id::WILDCARD_SUBSCRIPTION_AVAILABLE
        | id::SUBSCRIPTION_IDENTIFIER_AVAILABLE
        | id::SHARED_SUBSCRIPTION_AVAILABLE => {
            reader.u8()?;
        }
        id::SERVER_KEEP_ALIVE | id::RECEIVE_MAXIMUM | id::TOPIC_ALIAS_MAXIMUM | id::TOPIC_ALIAS => {
            reader.u16()?;
        }
        id::MESSAGE_EXPIRY_INTERVAL
        | id::SESSION_EXPIRY_INTERVAL
        | id::WILL_DELAY_INTERVAL
        | id::MAXIMUM_PACKET_SIZE => {
            reader.u32()?;
        }
        _ => {
            reader.binary()?;
        }
    }
    Ok(())
}
