//! One operation on two devices: the same inputs at odd places, everything around them NaN, results compared.

use gft_cuda::{Cuda, Precision};
use gft_model::device::{Buffer, Device, View, ViewMut};

use crate::machine::Emulated;
use crate::models::Random;

/// Elements before and after what an operation is given: views begin at no alignment but their elements'.
const BESIDE: usize = 3;

/// Additions, multiplications and copies of single numbers: no rounding differs.
pub const EXACT: f32 = 0.0;
/// A product of a few numbers, or a function of `exp` and a division: each rounds once or twice.
pub const FEW: f32 = 4.0;
/// Sums of up to 1000 terms in another order: their rounding grows as the root of their number, a quarter of a unit each.
pub const SUMS: f32 = 16.0;

/// The emulated device in f32.
pub fn cuda() -> Cuda {
    Emulated::default().device(Precision::F32)
}

/// Numbers on a device with NaN around them.
pub struct Placed<D: Device> {
    buffer: D::Buf,
    beside: usize,
    len: usize,
}

/// Puts numbers on a device.
pub fn put<D: Device>(device: &D, values: &[f32]) -> Placed<D> {
    place(device, values, BESIDE, |len| device.alloc(len))
}

/// Puts numbers on a device into a buffer of activations, after so many others.
pub fn put_activation<D: Device>(device: &D, values: &[f32], beside: usize) -> Placed<D> {
    place(device, values, beside, |len| device.alloc_activation(len))
}

/// [`room`] in a buffer of activations.
pub fn room_for_activation<D: Device>(device: &D, len: usize, beside: usize) -> Placed<D> {
    put_activation(device, &vec![f32::NAN; len], beside)
}

fn place<D: Device>(
    device: &D,
    values: &[f32],
    beside: usize,
    alloc: impl FnOnce(usize) -> D::Buf,
) -> Placed<D> {
    let mut all = vec![f32::NAN; values.len() + 2 * beside];
    all[beside..beside + values.len()].copy_from_slice(values);
    let mut buffer = alloc(all.len());
    device.write(&all, buffer.all_mut());
    Placed { buffer, beside, len: values.len() }
}

/// Room for results: NaN until something is written.
pub fn room<D: Device>(device: &D, len: usize) -> Placed<D> {
    put(device, &vec![f32::NAN; len])
}

impl<D: Device> Placed<D> {
    pub fn get(&self) -> View<'_, D::Buf> {
        self.buffer.part(self.beside..self.beside + self.len)
    }

    pub fn set(&mut self) -> ViewMut<'_, D::Buf> {
        self.buffer.part_mut(self.beside..self.beside + self.len)
    }

    /// The numbers, once nothing beside them was touched.
    pub fn read(&self, device: &D) -> Vec<f32> {
        let mut all = vec![0.0; self.buffer.len()];
        device.read(self.buffer.all(), &mut all);
        device.status().unwrap();
        let (before, rest) = all.split_at(self.beside);
        let (values, after) = rest.split_at(self.len);
        assert!(before.iter().chain(after).all(|x| x.is_nan()), "written beside the view");
        values.to_vec()
    }
}

/// Standard normal numbers.
pub fn normal(random: &mut Random, len: usize) -> Vec<f32> {
    (0..len).map(|_| random.normal() as f32).collect()
}

/// Compares results. `units` is in units in the last place (2^-23) of the larger of a value and the root mean square of all:
/// where terms of both signs cancel, what is left carries the rounding of the terms.
pub fn close(what: &str, ours: &[f32], expected: &[f32], units: f32) {
    assert_eq!(ours.len(), expected.len(), "{what}: lengths");
    let squares: f64 = expected.iter().map(|x| f64::from(*x).powi(2)).sum();
    let size = (squares / expected.len().max(1) as f64).sqrt() as f32;
    let mut worst = 0.0f32;
    for (i, (a, b)) in ours.iter().zip(expected).enumerate() {
        assert!(a.is_finite() && b.is_finite(), "{what}[{i}]: {a}, expected {b}");
        let off = if a == b { 0.0 } else { (a - b).abs() / (f32::EPSILON * b.abs().max(size)) };
        worst = worst.max(off);
        assert!(off <= units, "{what}[{i}]: {a}, expected {b}: {off} units, {units} are allowed");
    }
    if std::env::var_os("SHOW_UNITS").is_some() {
        eprintln!("{what}: {worst} of {units} units");
    }
}

/// Runs the same code on the CPU and on the emulated device, and compares what both give: a list of names and numbers.
#[macro_export]
macro_rules! agree {
    ($units:expr, |$device:ident| $body:block) => {{
        let expected: Vec<(&str, Vec<f32>)> = {
            let $device = &gft_model::Cpu::new();
            $body
        };
        let ours: Vec<(&str, Vec<f32>)> = {
            let $device = &$crate::compare::cuda();
            $body
        };
        for ((what, ours), (_, expected)) in ours.iter().zip(&expected) {
            $crate::compare::close(what, ours, expected, $units);
        }
    }};
}
