//! The wire format of protocol buffers (<https://protobuf.dev/programming-guides/encoding/>), as far as events need it.

/// A message being written. Fields are to be added in the order of their numbers, as the reference encoders do.
///
/// In proto3 a plain field with its default value (0, empty) is left out; fields of a `oneof` and messages are not.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A plain integer or enum field.
    pub(super) fn integer(mut self, field: u32, value: u64) -> Self {
        if value != 0 {
            self.key(field, 0);
            self.varint(value);
        }
        self
    }

    /// A plain double field.
    pub(super) fn double(mut self, field: u32, value: f64) -> Self {
        // By bits: -0.0 is not the default.
        if value.to_bits() != 0 {
            self.key(field, 1);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
        self
    }

    /// A float field that is present whatever its value.
    pub(super) fn present_float(mut self, field: u32, value: f32) -> Self {
        self.key(field, 5);
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A string, bytes or message field that is present whatever its value.
    pub(super) fn present(mut self, field: u32, value: &[u8]) -> Self {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
        self
    }

    /// A plain string field.
    pub(super) fn string(self, field: u32, value: &str) -> Self {
        if value.is_empty() { self } else { self.present(field, value.as_bytes()) }
    }

    /// A message field.
    pub(super) fn message(self, field: u32, value: &Self) -> Self {
        self.present(field, &value.bytes)
    }

    /// A repeated double field, packed.
    pub(super) fn packed_doubles(self, field: u32, values: &[f64]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        if bytes.is_empty() { self } else { self.present(field, &bytes) }
    }

    fn key(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    /// Seven bits per byte, the lowest first; the high bit says that more follow.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}
