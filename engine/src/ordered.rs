//! Bytes that stand in the order of the serde data they were made of.
//!
//! What derives its order (numbers, texts, tuples, enums, lists of them) compares as its bytes do, on every machine
//! and without its type: so what several nodes emit for their keys can be put in order by one that knows no keys.
//! Other types have some order, everywhere the same.
//!
//! Invariant: of two different values of a type, neither one's bytes begin with the other's.

use std::fmt;

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// What comes before each element of a list, and after the last.
const MORE: u8 = 1;
const NO_MORE: u8 = 0;

/// The bytes of a value; `None` if it cannot be written.
pub(crate) fn bytes<T: Serialize + ?Sized>(value: &T) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    value.serialize(Ordered(&mut bytes)).ok().map(|()| bytes)
}

/// Writes behind what is there.
struct Ordered<'a>(&'a mut Vec<u8>);

impl<'a> Ordered<'a> {
    fn put(self, bytes: impl AsRef<[u8]>) -> Result<(), fmt::Error> {
        self.0.extend_from_slice(bytes.as_ref());
        Ok(())
    }

    /// What was begun, with these bytes before it.
    fn after(self, bytes: impl AsRef<[u8]>) -> Result<Self, fmt::Error> {
        self.0.extend_from_slice(bytes.as_ref());
        Ok(self)
    }
}

/// Numbers from the highest byte on; of signed ones the sign turned, so that the negative ones come first.
macro_rules! numbers {
    ($($method:ident: $type:ty),*; $($signed:ident: $from:ty as $as:ty),*) => {
        $(fn $method(self, v: $type) -> Result<(), fmt::Error> { self.put(v.to_be_bytes()) })*
        $(fn $signed(self, v: $from) -> Result<(), fmt::Error> {
            self.put(((v as $as) ^ (1 << (<$as>::BITS - 1))).to_be_bytes())
        })*
    };
}

impl<'a> Serializer for Ordered<'a> {
    type Ok = ();
    type Error = fmt::Error;
    type SerializeSeq = List<'a>;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = List<'a>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    numbers!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128;
        serialize_i8: i8 as u8, serialize_i16: i16 as u16, serialize_i32: i32 as u32, serialize_i64: i64 as u64,
        serialize_i128: i128 as u128);

    fn serialize_bool(self, v: bool) -> Result<(), fmt::Error> {
        self.put([u8::from(v)])
    }

    fn serialize_f32(self, v: f32) -> Result<(), fmt::Error> {
        self.serialize_f64(f64::from(v))
    }

    /// In the order of [`f64::total_cmp`].
    fn serialize_f64(self, v: f64) -> Result<(), fmt::Error> {
        let bits = v.to_bits();
        self.put((if v.is_sign_negative() { !bits } else { bits ^ (1 << 63) }).to_be_bytes())
    }

    fn serialize_char(self, v: char) -> Result<(), fmt::Error> {
        self.put(u32::from(v).to_be_bytes())
    }

    fn serialize_str(self, v: &str) -> Result<(), fmt::Error> {
        self.serialize_bytes(v.as_bytes())
    }

    /// A zero is followed by one more byte, which says that it is not the end.
    fn serialize_bytes(self, v: &[u8]) -> Result<(), fmt::Error> {
        for byte in v {
            self.0.push(*byte);
            if *byte == 0 {
                self.0.push(MORE);
            }
        }
        self.put([0, NO_MORE])
    }

    fn serialize_none(self) -> Result<(), fmt::Error> {
        self.put([NO_MORE])
    }

    fn serialize_some<T: Serialize + ?Sized>(self, v: &T) -> Result<(), fmt::Error> {
        v.serialize(self.after([MORE])?)
    }

    fn serialize_unit(self) -> Result<(), fmt::Error> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), fmt::Error> {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, i: u32, _: &'static str) -> Result<(), fmt::Error> {
        self.put(i.to_be_bytes())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        v: &T,
    ) -> Result<(), fmt::Error> {
        v.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        i: u32,
        _: &'static str,
        v: &T,
    ) -> Result<(), fmt::Error> {
        v.serialize(self.after(i.to_be_bytes())?)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List<'a>, fmt::Error> {
        Ok(List(self.0))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        i: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, fmt::Error> {
        self.after(i.to_be_bytes())
    }

    fn serialize_map(self, _: Option<usize>) -> Result<List<'a>, fmt::Error> {
        Ok(List(self.0))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        i: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, fmt::Error> {
        self.after(i.to_be_bytes())
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Parts of which there are as many in every value of a type: one after the other.
macro_rules! parts {
    ($($part:ident::$method:ident($($name:ident: $str:ty)?)),*) => {$(
        impl $part for Ordered<'_> {
            type Ok = ();
            type Error = fmt::Error;
            fn $method<T: Serialize + ?Sized>(&mut self, $($name: $str,)? v: &T) -> Result<(), fmt::Error> {
                v.serialize(Ordered(&mut *self.0))
            }
            fn end(self) -> Result<(), fmt::Error> { Ok(()) }
        }
    )*};
}
parts!(
    SerializeTuple::serialize_element(),
    SerializeTupleStruct::serialize_field(),
    SerializeTupleVariant::serialize_field(),
    SerializeStruct::serialize_field(_name: &'static str),
    SerializeStructVariant::serialize_field(_name: &'static str)
);

/// Elements or entries of which there may be any number.
struct List<'a>(&'a mut Vec<u8>);

impl SerializeSeq for List<'_> {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), fmt::Error> {
        v.serialize(Ordered(&mut *self.0).after([MORE])?)
    }

    fn end(self) -> Result<(), fmt::Error> {
        Ordered(self.0).put([NO_MORE])
    }
}

impl SerializeMap for List<'_> {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), fmt::Error> {
        key.serialize(Ordered(&mut *self.0).after([MORE])?)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), fmt::Error> {
        v.serialize(Ordered(&mut *self.0))
    }

    fn end(self) -> Result<(), fmt::Error> {
        Ordered(self.0).put([NO_MORE])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use serde::Serialize;
    use xxhash_rust::xxh3::xxh3_64;

    use super::bytes;

    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
    enum Mixed {
        Nothing,
        One(i16),
        Two(char, Option<i8>),
        Named { texts: Vec<String>, by: BTreeMap<u8, (bool, i64)> },
    }

    /// Compares the order of values, by chance and of few kinds so that some are nearly equal, with that of their bytes.
    fn check<T: Ord + Serialize + Debug>(mut make: impl FnMut(&mut dyn FnMut(u64) -> u64) -> T) {
        let mut state = 1;
        let mut below = move |bound: u64| {
            state = xxh3_64(&u64::to_le_bytes(state));
            state % bound
        };
        for _ in 0..20_000 {
            let (a, b) = (make(&mut below), make(&mut below));
            let (x, y) = (bytes(&a).unwrap(), bytes(&b).unwrap());
            assert_eq!(a.cmp(&b), x.cmp(&y), "{a:?} and {b:?}: {x:?} and {y:?}");
            assert!(a == b || !x.starts_with(&y), "{a:?} and {b:?}: {x:?} and {y:?}");
        }
    }

    fn text(below: &mut dyn FnMut(u64) -> u64) -> String {
        let n = below(4);
        (0..n).map(|_| ['\0', '\u{1}', 'a', 'ä', '\u{ffff}'][below(5) as usize]).collect()
    }

    #[test]
    fn bytes_stand_in_the_order_of_values() {
        check(|below| below(600) as i32 - 300);
        check(|below| (i64::MAX.wrapping_mul(below(3) as i64), below(2) as u8 * 255, below(70_000) as u128));
        check(|below| (text(below), text(below)));
        check(|below| {
            let n = below(3);
            (0..n).map(|_| (below(2) == 0).then(|| text(below))).collect::<Vec<_>>()
        });
        check(|below| match below(4) {
            0 => Mixed::Nothing,
            1 => Mixed::One(below(9) as i16 - 4),
            2 => Mixed::Two(['a', 'ß', '鑑'][below(3) as usize], (below(2) == 0).then_some(-1)),
            _ => Mixed::Named {
                texts: (0..below(3)).map(|_| text(below)).collect(),
                by: (0..below(3)).map(|i| (i as u8, (below(2) == 0, -(below(2) as i64)))).collect(),
            },
        });
    }

    #[test]
    fn floats_stand_in_their_total_order() {
        let values = [f64::NEG_INFINITY, -1e300, -1.5, -0.0, 0.0, 1e-300, 1.5, f64::INFINITY, f64::NAN];
        assert!(values.windows(2).all(|two| bytes(&two[0]) < bytes(&two[1])));
    }
}
