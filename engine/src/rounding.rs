//! A view of serde data in which every float is rounded to 1e-3.

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// Serialises like its content, except that floats are whole thousandths.
pub(crate) struct Rounding<'a, T: ?Sized>(pub(crate) &'a T);

impl<T: Serialize + ?Sized> Serialize for Rounding<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Rounded(serializer))
    }
}

/// A serializer, or a part of one, that rounds what passes through it.
struct Rounded<S>(S);

/// Whole thousandths; NaN and what is out of range have places of their own.
fn thousandths(value: f64) -> i64 {
    // A float to integer cast saturates, and maps NaN to 0.
    if value.is_nan() { i64::MIN } else { (value * 1e3).round() as i64 }
}

macro_rules! pass {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, v: $type) -> Result<S::Ok, S::Error> { self.0.$method(v) })*
    };
}

impl<S: Serializer> Serializer for Rounded<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Rounded<S::SerializeSeq>;
    type SerializeTuple = Rounded<S::SerializeTuple>;
    type SerializeTupleStruct = Rounded<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Rounded<S::SerializeTupleVariant>;
    type SerializeMap = Rounded<S::SerializeMap>;
    type SerializeStruct = Rounded<S::SerializeStruct>;
    type SerializeStructVariant = Rounded<S::SerializeStructVariant>;

    pass!(serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_u128: u128, serialize_char: char, serialize_str: &str, serialize_bytes: &[u8],
        serialize_unit_struct: &'static str);

    fn serialize_f32(self, v: f32) -> Result<S::Ok, S::Error> {
        self.0.serialize_i64(thousandths(f64::from(v)))
    }

    fn serialize_f64(self, v: f64) -> Result<S::Ok, S::Error> {
        self.0.serialize_i64(thousandths(v))
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.0.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, v: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_some(&Rounding(v))
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.0.serialize_unit()
    }

    fn serialize_unit_variant(self, n: &'static str, i: u32, v: &'static str) -> Result<S::Ok, S::Error> {
        self.0.serialize_unit_variant(n, i, v)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        n: &'static str,
        v: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_struct(n, &Rounding(v))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        n: &'static str,
        i: u32,
        variant: &'static str,
        v: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_variant(n, i, variant, &Rounding(v))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.0.serialize_seq(len).map(Rounded)
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.0.serialize_tuple(len).map(Rounded)
    }

    fn serialize_tuple_struct(
        self,
        n: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.0.serialize_tuple_struct(n, len).map(Rounded)
    }

    fn serialize_tuple_variant(
        self,
        n: &'static str,
        i: u32,
        v: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.0.serialize_tuple_variant(n, i, v, len).map(Rounded)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        self.0.serialize_map(len).map(Rounded)
    }

    fn serialize_struct(self, n: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        self.0.serialize_struct(n, len).map(Rounded)
    }

    fn serialize_struct_variant(
        self,
        n: &'static str,
        i: u32,
        v: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.0.serialize_struct_variant(n, i, v, len).map(Rounded)
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

/// Compound parts that hold values without names.
macro_rules! elements {
    ($($part:ident::$method:ident),*) => {$(
        impl<S: $part> $part for Rounded<S> {
            type Ok = S::Ok;
            type Error = S::Error;
            fn $method<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), S::Error> {
                self.0.$method(&Rounding(v))
            }
            fn end(self) -> Result<S::Ok, S::Error> { self.0.end() }
        }
    )*};
}
elements!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

/// Compound parts that hold values under names.
macro_rules! fields {
    ($($part:ident),*) => {$(
        impl<S: $part> $part for Rounded<S> {
            type Ok = S::Ok;
            type Error = S::Error;
            fn serialize_field<T: Serialize + ?Sized>(&mut self, n: &'static str, v: &T) -> Result<(), S::Error> {
                self.0.serialize_field(n, &Rounding(v))
            }
            fn end(self) -> Result<S::Ok, S::Error> { self.0.end() }
        }
    )*};
}
fields!(SerializeStruct, SerializeStructVariant);

impl<S: SerializeMap> SerializeMap for Rounded<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.0.serialize_key(&Rounding(key))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), S::Error> {
        self.0.serialize_value(&Rounding(v))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.end()
    }
}
