//! Frames on a stream: u32 big-endian length, then the bytes. Owns the format and its size check;
//! never trusts a length with an allocation.

use futures::{AsyncRead, AsyncReadExt};
use std::io;

/// Bytes of the length in front of every frame.
const HEAD_BYTES: usize = 4;
/// Room made for a frame before any of its bytes came, whatever its length says.
const RESERVED_BYTES_MAX: usize = 16 * 1024;

/// A frame ready to be written.
pub(crate) fn frame(data: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(HEAD_BYTES + data.len());
    framed.extend_from_slice(&(data.len() as u32).to_be_bytes());
    framed.extend_from_slice(data);
    framed
}

/// The next frame, or `None` where the stream ends between frames. `InvalidData` above `max_bytes`,
/// `UnexpectedEof` when it ends within a frame.
pub(crate) async fn read_frame<R: AsyncRead + Unpin>(
    stream: &mut R,
    max_bytes: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0u8; HEAD_BYTES];
    let mut have = 0;
    while have < HEAD_BYTES {
        match stream.read(&mut head[have..]).await? {
            0 if have == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => have += count,
        }
    }
    let length = u32::from_be_bytes(head) as usize;
    if length > max_bytes {
        let why = format!("a frame of {length} bytes, more than {max_bytes}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    let mut data = Vec::with_capacity(length.min(RESERVED_BYTES_MAX));
    stream.take(length as u64).read_to_end(&mut data).await?;
    if data.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(data))
}

#[cfg(test)]
mod tests {
    use super::{frame, read_frame};
    use futures::executor::block_on;
    use futures::io::Cursor;
    use std::io::ErrorKind;

    fn read(bytes: &[u8], max_bytes: usize) -> Result<Option<Vec<u8>>, ErrorKind> {
        block_on(read_frame(&mut Cursor::new(bytes), max_bytes)).map_err(|error| error.kind())
    }

    #[test]
    fn frames_come_back_in_order_until_the_end() {
        let mut bytes = frame(b"first");
        bytes.extend(frame(b""));
        let mut stream = Cursor::new(bytes);
        assert_eq!(
            block_on(read_frame(&mut stream, 5)).unwrap(),
            Some(b"first".to_vec())
        );
        assert_eq!(
            block_on(read_frame(&mut stream, 5)).unwrap(),
            Some(Vec::new())
        );
        assert_eq!(block_on(read_frame(&mut stream, 5)).unwrap(), None);
    }

    #[test]
    fn a_length_above_the_limit_is_invalid_data() {
        assert_eq!(read(&frame(b"123456"), 5), Err(ErrorKind::InvalidData));
        assert_eq!(read(&[0xff; 8], 1 << 20), Err(ErrorKind::InvalidData));
    }

    #[test]
    fn an_end_within_a_frame_is_an_unexpected_end() {
        for cut in 1..8 {
            assert_eq!(
                read(&frame(b"1234")[..cut], 5),
                Err(ErrorKind::UnexpectedEof),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn a_huge_length_with_few_bytes_reserves_little() {
        // 4 GiB - 1 announced and allowed: must end in an error, not in an allocation of that size.
        let bytes = [0xff, 0xff, 0xff, 0xff, 1, 2, 3];
        assert_eq!(read(&bytes, usize::MAX), Err(ErrorKind::UnexpectedEof));
    }
}
