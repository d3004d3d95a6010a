//! The canonical form under a fingerprint: one byte sequence a content, however it is declared.
//!
//! Version 1. Each value is a tag byte and its content, lengths before what has one, so that no two
//! contents share a form. Changing anything here needs a new [`super::Fingerprint::VERSION`].

use serde::Serialize;
use serde::ser::{self, SerializeMap, SerializeSeq, SerializeStruct};

use super::FingerprintError;

const UNIT: u8 = 0;
const SOME: u8 = 1;
const BOOL: u8 = 2;
const NEGATIVE: u8 = 3;
const NATURAL: u8 = 4;
const FLOAT: u8 = 5;
const CHAR_OR_STR: u8 = 6;
const BYTES: u8 = 7;
const SEQUENCE: u8 = 8;
const MAP: u8 = 9;
const VARIANT: u8 = 10;

type Done = Result<(), FingerprintError>;

/// Writes the canonical form of one value.
pub(super) struct Canonical<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Canonical<'a> {
    pub(super) const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    fn tagged(self, tag: u8, content: &[u8]) -> Done {
        self.out.push(tag);
        self.out.extend_from_slice(content);
        Ok(())
    }

    fn sized(self, tag: u8, content: &[u8]) -> Done {
        push_sized(self.out, tag, content);
        Ok(())
    }

    fn variant(self, name: &'static str) -> &'a mut Vec<u8> {
        push_sized(self.out, VARIANT, name.as_bytes());
        self.out
    }
}

fn push_sized(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    out.extend_from_slice(&(content.len() as u64).to_be_bytes());
    out.extend_from_slice(content);
}

fn form<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, FingerprintError> {
    let mut out = Vec::new();
    value.serialize(Canonical::new(&mut out))?;
    Ok(out)
}

impl<'a> ser::Serializer for Canonical<'a> {
    type Ok = ();
    type Error = FingerprintError;
    type SerializeSeq = Elements<'a>;
    type SerializeTuple = Elements<'a>;
    type SerializeTupleStruct = Elements<'a>;
    type SerializeTupleVariant = Elements<'a>;
    type SerializeMap = Entries<'a>;
    type SerializeStruct = Entries<'a>;
    type SerializeStructVariant = Entries<'a>;

    fn serialize_bool(self, v: bool) -> Done {
        self.tagged(BOOL, &[u8::from(v)])
    }
    fn serialize_i8(self, v: i8) -> Done {
        self.serialize_i128(v.into())
    }
    fn serialize_i16(self, v: i16) -> Done {
        self.serialize_i128(v.into())
    }
    fn serialize_i32(self, v: i32) -> Done {
        self.serialize_i128(v.into())
    }
    fn serialize_i64(self, v: i64) -> Done {
        self.serialize_i128(v.into())
    }
    fn serialize_i128(self, v: i128) -> Done {
        let tag = if v < 0 { NEGATIVE } else { NATURAL };
        self.tagged(tag, &v.unsigned_abs().to_be_bytes())
    }
    fn serialize_u8(self, v: u8) -> Done {
        self.serialize_u128(v.into())
    }
    fn serialize_u16(self, v: u16) -> Done {
        self.serialize_u128(v.into())
    }
    fn serialize_u32(self, v: u32) -> Done {
        self.serialize_u128(v.into())
    }
    fn serialize_u64(self, v: u64) -> Done {
        self.serialize_u128(v.into())
    }
    fn serialize_u128(self, v: u128) -> Done {
        self.tagged(NATURAL, &v.to_be_bytes())
    }
    fn serialize_f32(self, v: f32) -> Done {
        self.serialize_f64(v.into())
    }
    fn serialize_f64(self, v: f64) -> Done {
        self.tagged(FLOAT, &v.to_bits().to_be_bytes())
    }
    fn serialize_char(self, v: char) -> Done {
        self.serialize_str(v.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, v: &str) -> Done {
        self.sized(CHAR_OR_STR, v.as_bytes())
    }
    fn serialize_bytes(self, v: &[u8]) -> Done {
        self.sized(BYTES, v)
    }
    fn serialize_none(self) -> Done {
        self.tagged(UNIT, &[])
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        self.out.push(SOME);
        value.serialize(self)
    }
    fn serialize_unit(self) -> Done {
        self.tagged(UNIT, &[])
    }
    fn serialize_unit_struct(self, _: &'static str) -> Done {
        self.tagged(UNIT, &[])
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Done {
        self.variant(variant).push(UNIT);
        Ok(())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Done {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Done {
        value.serialize(Canonical::new(self.variant(variant)))
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Elements<'a>, FingerprintError> {
        Ok(Elements::new(self.out))
    }
    fn serialize_tuple(self, _: usize) -> Result<Elements<'a>, FingerprintError> {
        Ok(Elements::new(self.out))
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Elements<'a>, FingerprintError> {
        Ok(Elements::new(self.out))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Elements<'a>, FingerprintError> {
        Ok(Elements::new(self.variant(variant)))
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Entries<'a>, FingerprintError> {
        Ok(Entries::new(self.out))
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Entries<'a>, FingerprintError> {
        Ok(Entries::new(self.out))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Entries<'a>, FingerprintError> {
        Ok(Entries::new(self.variant(variant)))
    }
    fn is_human_readable(&self) -> bool {
        true
    }
}

/// A sequence: its elements, each with its length, in their order.
pub(super) struct Elements<'a> {
    out: &'a mut Vec<u8>,
    elements: Vec<u8>,
}

impl<'a> Elements<'a> {
    const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, elements: Vec::new() }
    }
}

impl SerializeSeq for Elements<'_> {
    type Ok = ();
    type Error = FingerprintError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        value.serialize(Canonical::new(&mut self.elements))
    }
    fn end(self) -> Done {
        push_sized(self.out, SEQUENCE, &self.elements);
        Ok(())
    }
}

impl ser::SerializeTuple for Elements<'_> {
    type Ok = ();
    type Error = FingerprintError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        SerializeSeq::serialize_element(self, value)
    }
    fn end(self) -> Done {
        SerializeSeq::end(self)
    }
}

impl ser::SerializeTupleStruct for Elements<'_> {
    type Ok = ();
    type Error = FingerprintError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        SerializeSeq::serialize_element(self, value)
    }
    fn end(self) -> Done {
        SerializeSeq::end(self)
    }
}

impl ser::SerializeTupleVariant for Elements<'_> {
    type Ok = ();
    type Error = FingerprintError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        SerializeSeq::serialize_element(self, value)
    }
    fn end(self) -> Done {
        SerializeSeq::end(self)
    }
}

/// A map or struct: its entries sorted by key, a struct's `None` fields left out.
pub(super) struct Entries<'a> {
    out: &'a mut Vec<u8>,
    key: Vec<u8>,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Entries<'a> {
    const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, key: Vec::new(), entries: Vec::new() }
    }
}

impl SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = FingerprintError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Done {
        self.key = form(key)?;
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        self.entries.push((std::mem::take(&mut self.key), form(value)?));
        Ok(())
    }
    fn end(mut self) -> Done {
        self.entries.sort_unstable();
        let mut content = Vec::new();
        for (key, value) in &self.entries {
            content.extend_from_slice(key);
            content.extend_from_slice(value);
        }
        push_sized(self.out, MAP, &content);
        Ok(())
    }
}

impl SerializeStruct for Entries<'_> {
    type Ok = ();
    type Error = FingerprintError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Done {
        let value = form(value)?;
        // `None` and `()` have the form of one tag.
        if value != [UNIT] {
            self.entries.push((form(name)?, value));
        }
        Ok(())
    }
    fn end(self) -> Done {
        SerializeMap::end(self)
    }
}

impl ser::SerializeStructVariant for Entries<'_> {
    type Ok = ();
    type Error = FingerprintError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Done {
        SerializeStruct::serialize_field(self, name, value)
    }
    fn end(self) -> Done {
        SerializeMap::end(self)
    }
}
