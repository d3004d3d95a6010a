//! Hash slots of a Redis Cluster.

use redis::{FromRedisValue, RedisResult, Value};

/// How many there are.
pub(crate) const SLOTS: u16 = 16384;

/// The slot of a key: CRC-16 of the key, or of what stands between its first `{` and the next `}`, if
/// anything does (Redis Cluster specification, *Hash tags*).
pub(crate) fn slot(key: &[u8]) -> u16 {
    let tag = key
        .iter()
        .position(|byte| *byte == b'{')
        .map(|open| &key[open + 1..])
        .and_then(|rest| rest.iter().position(|byte| *byte == b'}').map(|close| &rest[..close]))
        .filter(|tag| !tag.is_empty());
    crc16::State::<crc16::XMODEM>::calculate(tag.unwrap_or(key)) % SLOTS
}

/// Slots, and who has them.
#[derive(Debug)]
pub(crate) struct Range {
    pub(crate) first: u16,
    pub(crate) last: u16,
    /// `None` for the one that was asked.
    pub(crate) host: Option<String>,
    pub(crate) port: u16,
}

/// What `CLUSTER SLOTS` says.
pub(crate) fn ranges(answer: Value) -> RedisResult<Vec<Range>> {
    let ranges: Vec<Vec<Value>> = FromRedisValue::from_redis_value(answer)?;
    let mut read = Vec::new();
    for range in ranges {
        let mut range = range.into_iter();
        let (Some(first), Some(last), Some(master)) = (range.next(), range.next(), range.next()) else { continue };
        let master: Vec<Value> = FromRedisValue::from_redis_value(master)?;
        let mut master = master.into_iter();
        let (Some(host), Some(port)) = (master.next(), master.next()) else { continue };
        let host: Option<String> = FromRedisValue::from_redis_value(host)?;
        read.push(Range {
            first: FromRedisValue::from_redis_value(first)?,
            last: FromRedisValue::from_redis_value(last)?,
            host: host.filter(|host| !host.is_empty() && host != "?"),
            port: FromRedisValue::from_redis_value(port)?,
        });
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        // The specification's own examples, and what `CLUSTER KEYSLOT` says.
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"));
        assert_eq!(slot(b"foo"), 12182);
    }
}
