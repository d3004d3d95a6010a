//! A value's content: the names, types and values of all it is made of, as one number.
//!
//! Formats that do not say what they hold decode a changed struct silently wrong: swapped fields swap
//! their values, an inserted variant turns one answer into another, a field that is skipped shifts
//! those after it. The content of the value that was stored and of what was read from it tell.
//!
//! Elements of sequences and maps count in any order: a `HashSet` read back may have another.

use std::fmt;

use serde::Serialize;
use serde::ser;

/// The content of a value; of one that does not serialize, 0.
pub(super) fn content_of<T: Serialize + ?Sized>(value: &T) -> u64 {
    value.serialize(Reader).unwrap_or_default()
}

#[derive(Debug, thiserror::Error)]
#[error("the value does not serialize")]
struct Unread;

impl ser::Error for Unread {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// One step over a word, as in Firefox's hash: quick, and the same in every version of this library.
const fn mixed(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(5) ^ word).wrapping_mul(0x517C_C1B7_2722_0A95)
}

fn tagged(tag: u8, name: &str, inner: u64) -> u64 {
    hashed(tag, name.as_bytes(), inner)
}

fn hashed(tag: u8, bytes: &[u8], inner: u64) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let hash = words
        .iter()
        .fold(mixed(u64::from(tag), bytes.len() as u64), |hash, word| mixed(hash, u64::from_le_bytes(*word)));
    let hash = mixed(mixed(hash, u64::from_le_bytes(last)), inner);
    hash ^ (hash >> 32)
}

/// Cheap, as there may be a million of them in a sequence.
const fn scalar(tag: u64, value: u64) -> u64 {
    let word = mixed(tag + 1, value);
    word ^ (word >> 32)
}

struct Reader;

/// The content of what has parts. `ordered` tells whether their order counts.
struct Parts {
    base: u64,
    content: u64,
    ordered: bool,
    key: u64,
}

impl Parts {
    fn new(tag: u8, name: &str, ordered: bool) -> Self {
        Self { base: tagged(tag, name, 0), content: 0, ordered, key: 0 }
    }

    fn variant(tag: u8, name: &str, index: u32, variant: &str) -> Self {
        Self { base: variant_content(tag, name, index, variant, 0), ..Self::new(tag, name, true) }
    }

    fn add<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Unread> {
        let part = value.serialize(Reader)?;
        self.content = match self.ordered {
            true => tagged(b'.', name, self.content.rotate_left(1) ^ part),
            false => self.content.wrapping_add(part),
        };
        Ok(())
    }

    fn done(self) -> Result<u64, Unread> {
        Ok(tagged(b')', "", self.base ^ self.content.rotate_left(7)))
    }
}

fn variant_content(tag: u8, name: &str, index: u32, variant: &str, inner: u64) -> u64 {
    tagged(tag, name, tagged(b':', variant, inner ^ u64::from(index).rotate_left(32)))
}

macro_rules! scalars {
    ($($method:ident($type:ty) = $tag:literal as |$value:ident| $word:expr),* $(,)?) => {
        $(fn $method(self, $value: $type) -> Result<u64, Unread> { Ok(scalar($tag, $word)) })*
    };
}

impl ser::Serializer for Reader {
    type Ok = u64;
    type Error = Unread;
    type SerializeSeq = Parts;
    type SerializeTuple = Parts;
    type SerializeTupleStruct = Parts;
    type SerializeTupleVariant = Parts;
    type SerializeMap = Parts;
    type SerializeStruct = Parts;
    type SerializeStructVariant = Parts;

    scalars! {
        serialize_bool(bool) = 1 as |v| v.into(), serialize_char(char) = 2 as |v| u32::from(v).into(),
        serialize_i8(i8) = 5 as |v| v.cast_unsigned().into(), serialize_i16(i16) = 6 as |v| v.cast_unsigned().into(),
        serialize_i32(i32) = 7 as |v| v.cast_unsigned().into(), serialize_i64(i64) = 8 as |v| v.cast_unsigned(),
        serialize_u8(u8) = 10 as |v| v.into(), serialize_u16(u16) = 11 as |v| v.into(),
        serialize_u32(u32) = 12 as |v| v.into(), serialize_u64(u64) = 13 as |v| v,
        serialize_f32(f32) = 15 as |v| v.to_bits().into(), serialize_f64(f64) = 16 as |v| v.to_bits(),
    }

    fn serialize_i128(self, v: i128) -> Result<u64, Unread> {
        Ok(hashed(9, &v.to_le_bytes(), 0))
    }
    fn serialize_u128(self, v: u128) -> Result<u64, Unread> {
        Ok(hashed(14, &v.to_le_bytes(), 0))
    }
    fn serialize_str(self, v: &str) -> Result<u64, Unread> {
        Ok(hashed(3, v.as_bytes(), 0))
    }
    fn serialize_bytes(self, v: &[u8]) -> Result<u64, Unread> {
        Ok(hashed(4, v, 0))
    }
    fn serialize_none(self) -> Result<u64, Unread> {
        Ok(tagged(17, "", 0))
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<u64, Unread> {
        Ok(tagged(18, "", value.serialize(self)?))
    }
    fn serialize_unit(self) -> Result<u64, Unread> {
        Ok(tagged(19, "", 0))
    }
    fn serialize_unit_struct(self, name: &'static str) -> Result<u64, Unread> {
        Ok(tagged(20, name, 0))
    }
    fn serialize_unit_variant(self, name: &'static str, index: u32, variant: &'static str) -> Result<u64, Unread> {
        Ok(variant_content(21, name, index, variant, 0))
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<u64, Unread> {
        Ok(tagged(22, name, value.serialize(self)?))
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<u64, Unread> {
        Ok(variant_content(23, name, index, variant, value.serialize(self)?))
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Parts, Unread> {
        Ok(Parts::new(24, "", false))
    }
    fn serialize_tuple(self, _: usize) -> Result<Parts, Unread> {
        Ok(Parts::new(25, "", true))
    }
    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<Parts, Unread> {
        Ok(Parts::new(26, name, true))
    }
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts, Unread> {
        Ok(Parts::variant(27, name, index, variant))
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Parts, Unread> {
        Ok(Parts::new(28, "", false))
    }
    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Parts, Unread> {
        Ok(Parts::new(29, name, true))
    }
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts, Unread> {
        Ok(Parts::variant(30, name, index, variant))
    }
    // As bincode sees itself: types with two faces must show the one that is stored.
    fn is_human_readable(&self) -> bool {
        false
    }
}

macro_rules! parts {
    ($($trait:ident::$method:ident($($name:ident)?)),* $(,)?) => {
        $(impl ser::$trait for Parts {
            type Ok = u64;
            type Error = Unread;

            fn $method<T: Serialize + ?Sized>(&mut self, $($name: &'static str,)? value: &T) -> Result<(), Unread> {
                self.add(parts!(@name $($name)?), value)
            }
            fn end(self) -> Result<u64, Unread> {
                self.done()
            }
        })*
    };
    (@name) => { "" };
    (@name $name:ident) => { $name };
}

parts! {
    SerializeSeq::serialize_element(),
    SerializeTuple::serialize_element(),
    SerializeTupleStruct::serialize_field(),
    SerializeTupleVariant::serialize_field(),
    SerializeStruct::serialize_field(name),
    SerializeStructVariant::serialize_field(name),
}

impl ser::SerializeMap for Parts {
    type Ok = u64;
    type Error = Unread;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unread> {
        self.key = key.serialize(Reader)?;
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unread> {
        let entry = tagged(b'=', "", self.key.rotate_left(3) ^ value.serialize(Reader)?);
        self.content = self.content.wrapping_add(entry);
        Ok(())
    }
    fn end(self) -> Result<u64, Unread> {
        self.done()
    }
}
