//! What the tests of sources share: real clips, made at test time by a real ffmpeg, and servers on loopback.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::fetch::{Cache, Environment, ffmpeg_program, silent};

/// The ffmpeg that tests run: found, or installed as for any run.
pub(super) fn ffmpeg() -> PathBuf {
    ffmpeg_program(&Cache::new(Environment::of_process()).unwrap(), None, &silent).unwrap()
}

/// Writes a clip of one of ffmpeg's generators, with a video codec (none for sound), into a folder.
pub(super) fn clip(folder: &Path, name: &str, generator: &str, codec: &str) -> PathBuf {
    clip_with(folder, name, generator, codec, &[])
}

/// The same with further options of the encoder.
pub(super) fn clip_with(
    folder: &Path,
    name: &str,
    generator: &str,
    codec: &str,
    options: &[&str],
) -> PathBuf {
    let path = folder.join(name);
    let mut output = std::ffi::OsString::from("file:");
    output.push(&path);
    let mut command = Command::new(ffmpeg());
    command.args(["-nostdin", "-v", "error", "-threads", "1", "-f", "lavfi", "-i", generator]);
    if !codec.is_empty() {
        // Motion JPEG has formats of its own, in full range.
        let format = if codec == "mjpeg" { "yuvj420p" } else { "yuv420p" };
        command.args(["-c:v", codec, "-threads", "1", "-pix_fmt", format]);
    }
    if codec == "libx264" {
        command.args(["-preset", "ultrafast"]);
    }
    let status = command.args(options).arg(output).status().expect("ffmpeg starts");
    assert!(status.success(), "ffmpeg could not make {}", path.display());
    path
}

/// A small generator of numbers (splitmix64), the same on every machine.
pub(super) struct Random(pub(super) u64);

impl Random {
    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    /// So many bytes.
    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }
}

/// A server of the tests, on loopback: hands each connection, with its number, to `serve` on a thread of its own,
/// until it is dropped. `serve` runs until it is done or the other side has gone.
pub(super) struct Server {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(serve: impl Fn(usize, &mut TcpStream) -> io::Result<()> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let thread = std::thread::spawn(move || {
            for (number, connection) in listener.incoming().enumerate() {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                let mut connection = connection.expect("a client has come");
                // A client that goes away is no failure of the server.
                _ = serve(number, &mut connection);
            }
        });
        Self { address, over, thread: Some(thread) }
    }

    /// Where it is, as `127.0.0.1:PORT`.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server did not panic");
        }
    }
}

/// Reads the head of a request.
pub(super) fn request(connection: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && connection.read(&mut byte)? > 0 {
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// A JPEG of one colour.
pub(super) fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let pixels = vec![90; 3 * usize::from(width) * usize::from(height)];
    let mut file = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut file, 90);
    encoder.encode(&pixels, width, height, jpeg_encoder::ColorType::Rgb).expect("it can be encoded");
    file
}
