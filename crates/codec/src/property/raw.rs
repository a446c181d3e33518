//! Properties that were checked before, looked at once more.

use crate::{error::Fault, primitive::Reader, property::id};

/// Reads on to the next property with this identifier; `None` behind the last one.
#[inline]
pub(crate) fn seek(reader: &mut Reader<'_>, id: u8) -> Option<()> {
    // They were checked before, so that nothing fails but at the end.
    while let Ok(next) = reader.u8() {
        if next == id {
            return Some(());
        }
        skip_value(reader, next).ok()?;
    }
    None
}

/// Skips the value of a property.
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
