//! A model's weights: f32 where they are trained, else in the 16 bits that they have on disk.

use std::ops::Range;

use crate::device::{Buffer, Device, HalfFormat, HalfView, MatMul, View, ViewMut};
use crate::layout::{Layout, Parameter};

/// All weights of a model, addressed by the layout's ranges.
pub(crate) enum Weights<D: Device> {
    /// f32, flat in the layout's order.
    Single(D::Buf),
    /// Matrices of 16 bits, flat in the layout's order; norms and biases, which are few, widened.
    Half {
        /// As long as the layout; nothing stands at the places of vectors.
        matrices: D::Half,
        /// Vectors, one after another.
        vectors: D::Buf,
        /// Where each vector begins in the layout and in `vectors`, ascending.
        places: Vec<(usize, usize)>,
    },
}

/// A weight matrix as it is stored.
pub(crate) enum Matrix<'a, D: Device> {
    Single(View<'a, D::Buf>),
    Half(HalfView<'a, D::Half>),
}

impl<D: Device> Weights<D> {
    /// Room for weights whose matrices have 16 bits.
    pub fn half(device: &D, layout: &Layout, format: HalfFormat) -> Self {
        let mut places = Vec::new();
        let mut len = 0;
        for vector in layout.parameters.iter().filter(|parameter| !parameter.is_matrix) {
            places.push((vector.range.start, len));
            len += vector.range.len();
        }
        Weights::Half { matrices: device.halves(format, layout.len), vectors: device.zeros(len), places }
    }

    /// A norm or biases, which may be several tensors one after another.
    pub fn vector(&self, range: &Range<usize>) -> View<'_, D::Buf> {
        match self {
            Weights::Single(flat) => flat.part(range.clone()),
            Weights::Half { vectors, places, .. } => vectors.part(place(places, range)),
        }
    }

    /// A matrix, which may be several tensors one below another.
    pub fn matrix(&self, range: &Range<usize>) -> Matrix<'_, D> {
        match self {
            Weights::Single(flat) => Matrix::Single(flat.part(range.clone())),
            Weights::Half { matrices, .. } => {
                Matrix::Half(HalfView { buffer: matrices, range: range.clone() })
            }
        }
    }

    /// Puts the f32 values of a vector, or of any parameter where all are f32, at their place.
    pub fn write(&mut self, device: &D, values: &[f32], range: Range<usize>) {
        match self {
            Weights::Single(flat) => device.write(values, flat.part_mut(range)),
            Weights::Half { vectors, places, .. } => {
                device.write(values, vectors.part_mut(place(places, &range)));
            }
        }
    }

    /// Copies a part of a parameter to the host as f32.
    pub fn read(&self, device: &D, parameter: &Parameter, part: Range<usize>, target: &mut [f32]) {
        match self {
            Weights::Half { matrices, .. } if parameter.is_matrix => {
                device.read_half(HalfView { buffer: matrices, range: part }, target);
            }
            Weights::Half { vectors, places, .. } => {
                device.read(vectors.part(place(places, &part)), target);
            }
            Weights::Single(flat) => device.read(flat.part(part), target),
        }
    }
}

/// Where a part of the layout that holds vectors alone lies among the vectors.
fn place(places: &[(usize, usize)], range: &Range<usize>) -> Range<usize> {
    let at = places.partition_point(|(start, _)| *start <= range.start).saturating_sub(1);
    let (start, compact) = places.get(at).copied().unwrap_or_default();
    let first = compact + (range.start - start);
    first..first + range.len()
}

impl<D: Device> Matrix<'_, D> {
    /// `out (+)= a op(self)`; see [`MatMul`].
    pub fn multiply(self, device: &D, op: MatMul, a: View<'_, D::Buf>, out: ViewMut<'_, D::Buf>) {
        match self {
            Matrix::Single(weight) => device.matmul_weight(op, a, weight, out),
            Matrix::Half(weight) => device.matmul_half(op, a, weight, out),
        }
    }

    /// `out = onto + a op(self)`.
    pub fn multiply_onto(
        self,
        device: &D,
        op: MatMul,
        a: View<'_, D::Buf>,
        onto: View<'_, D::Buf>,
        out: ViewMut<'_, D::Buf>,
    ) {
        match self {
            Matrix::Single(weight) => device.matmul_weight_onto(op, a, weight, onto, out),
            Matrix::Half(weight) => device.matmul_half_onto(op, a, weight, onto, out),
        }
    }

    /// `out[i] = self[rows[i]]`, rows of width `width`.
    pub fn gather(self, device: &D, rows: &[u32], width: usize, out: ViewMut<'_, D::Buf>) {
        match self {
            Matrix::Single(table) => device.gather_rows(table, rows, width, out),
            Matrix::Half(table) => device.gather_half(table, rows, width, out),
        }
    }

    /// The matrix `[n, k]` arranged for few rows.
    pub fn pack(self, device: &D, n: usize, k: usize) -> D::Packed {
        match self {
            Matrix::Single(weight) => device.pack(weight, n, k),
            Matrix::Half(weight) => device.pack_half(weight, n, k),
        }
    }
}
