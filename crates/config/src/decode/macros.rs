//! The macros that declare resource types: `message!`, `oneof!` and `proto_enum!`.
//!
//! They stand where a derive would, without a proc-macro crate of our own: each field is written once, with its name in documents
//! next to it, and from that come the struct, its reader and its serializer.

/// Declares a message. `name: Type = "jsonName";`, with `required` or `oneof` at the end where that holds.
macro_rules! message {
    ($(#[$meta:meta])* pub struct $name:ident {
        $( $(#[$fmeta:meta])* $field:ident : $ty:ty = $json:tt $($flag:ident)? ; )*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name {
            $( $(#[$fmeta])* pub $field: $ty, )*
        }

        impl $crate::decode::Message for $name {
            const REQUIRED: &'static [Option<&'static str>] =
                &[$( message!(@name $json, $($flag)?) ),*];

            #[allow(unused_variables, reason = "a message without fields reads nothing")]
            fn set(
                &mut self,
                key: &str,
                node: &$crate::tree::Node<'_>,
                cx: &mut $crate::decode::Decoder,
                path: &$crate::path::Path<'_>,
            ) -> bool {
                $( message!(@set self, key, node, cx, path, $field, $json); )*
                false
            }

            #[allow(unused_mut, clippy::vec_init_then_push, reason = "some fields list several, some messages none")]
            fn fields() -> Vec<$crate::decode::Field> {
                let mut fields = Vec::new();
                $( message!(@describe fields, $ty, $json, $($flag)?); )*
                fields
            }
        }

        impl $crate::decode::Decode for $name {
            fn decode(
                node: &$crate::tree::Node<'_>,
                cx: &mut $crate::decode::Decoder,
                path: &$crate::path::Path<'_>,
            ) -> Option<Self> {
                $crate::decode::message(node, cx, path)
            }

            fn shape() -> $crate::decode::Shape {
                $crate::decode::Shape::Message(<$name as $crate::decode::Message>::fields)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                #[allow(unused_imports, reason = "a message without fields writes none")]
                use serde::ser::SerializeMap;
                #[allow(unused_mut, reason = "a message without fields writes none")]
                let mut map = serializer.serialize_map(None)?;
                $( message!(@write self, map, $field, $json); )*
                map.end()
            }
        }
    };

    (@set $self:ident, $key:ident, $node:ident, $cx:ident, $path:ident, $field:ident, oneof) => {
        if $crate::decode::arm(&mut $self.$field, $key, $node, $cx, $path) {
            return true;
        }
    };
    (@set $self:ident, $key:ident, $node:ident, $cx:ident, $path:ident, $field:ident, $json:literal) => {
        if $key == $json {
            $crate::decode::field(&mut $self.$field, $node, $cx, $path);
            return true;
        }
    };
    (@describe $fields:ident, $ty:ty, oneof,) => {
        $fields.extend(<$ty as $crate::decode::OptionalOneOf>::fields());
    };
    (@describe $fields:ident, $ty:ty, $json:literal, $($flag:ident)?) => {
        $fields.push($crate::decode::Field {
            name: $json,
            shape: <$ty as $crate::decode::Decode>::shape,
            required: message!(@required $($flag)?),
        });
    };
    (@name oneof,) => { None };
    (@name $json:literal, required) => { Some($json) };
    (@name $json:literal,) => { None };
    (@required required) => { true };
    (@required) => { false };
    (@write $self:ident, $map:ident, $field:ident, oneof) => {
        if let Some(arm) = &$self.$field {
            arm.write(&mut $map)?;
        }
    };
    (@write $self:ident, $map:ident, $field:ident, $json:literal) => {
        if !$crate::decode::is_default(&$self.$field) {
            $map.serialize_entry($json, &$self.$field)?;
        }
    };
}

/// Declares a oneof of a message around it: `Arm(Type) = "jsonName";`.
macro_rules! oneof {
    ($(#[$meta:meta])* pub enum $name:ident {
        $( $(#[$ameta:meta])* $arm:ident ( $ty:ty ) = $json:literal ; )*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name {
            $( $(#[$ameta])* $arm($ty), )*
        }

        impl $crate::decode::OneOf for $name {
            fn arm(
                key: &str,
                node: &$crate::tree::Node<'_>,
                cx: &mut $crate::decode::Decoder,
                path: &$crate::path::Path<'_>,
            ) -> Option<Option<Self>> {
                match key {
                    $( $json => Some(<$ty as $crate::decode::Decode>::decode(node, cx, path).map($name::$arm)), )*
                    _ => None,
                }
            }

            fn key(&self) -> &'static str {
                match self { $( $name::$arm(_) => $json, )* }
            }

            fn fields() -> Vec<$crate::decode::Field> {
                vec![$( $crate::decode::Field {
                    name: $json,
                    shape: <$ty as $crate::decode::Decode>::shape,
                    required: false,
                }, )*]
            }
        }

        impl $name {
            /// Writes the arm as an entry of the message around it.
            fn write<M: serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
                match self { $( $name::$arm(value) => map.serialize_entry($json, value), )* }
            }
        }
    };
}

/// Declares an enum of words. The first is the default, as in protobuf.
macro_rules! proto_enum {
    ($(#[$meta:meta])* pub enum $name:ident {
        $( $(#[$vmeta:meta])* $variant:ident = $json:literal ; )*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $( $(#[$vmeta])* $variant, )*
        }

        impl $name {
            /// The words, in declared order; the first is the default.
            pub const WORDS: &'static [&'static str] = &[$($json),*];
            const VALUES: &'static [$name] = &[$($name::$variant),*];

            /// The word of this value.
            pub fn as_str(self) -> &'static str {
                match self { $( $name::$variant => $json, )* }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::VALUES[0]
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::decode::Decode for $name {
            fn decode(
                node: &$crate::tree::Node<'_>,
                cx: &mut $crate::decode::Decoder,
                path: &$crate::path::Path<'_>,
            ) -> Option<Self> {
                cx.word(node, path, Self::WORDS).map(|index| Self::VALUES[index])
            }

            fn shape() -> $crate::decode::Shape {
                $crate::decode::Shape::Enum(Self::WORDS)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

pub(crate) use {message, oneof, proto_enum};
