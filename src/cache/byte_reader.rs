//! A reader of binary formats that trusts no length it reads: it never allocates and never reads past the end.

/// Error of a read beyond the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnexpectedEnd;

/// The bytes that have not been read yet.
pub(crate) struct ByteReader<'a>(pub(crate) &'a [u8]);

impl<'a> ByteReader<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], UnexpectedEnd> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(UnexpectedEnd)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], UnexpectedEnd> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(UnexpectedEnd)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// Reads bytes that follow a length of one byte.
    pub(crate) fn text8(&mut self) -> Result<&'a [u8], UnexpectedEnd> {
        let [length] = self.array()?;
        self.take(usize::from(length))
    }

    /// Reads bytes that follow a little-endian length of two bytes.
    pub(crate) fn text16(&mut self) -> Result<&'a [u8], UnexpectedEnd> {
        let length = u16::from_le_bytes(self.array()?);
        self.take(usize::from(length))
    }
}
