//! Matrix products by cuBLASLt.

use std::collections::HashMap;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use cudarc::cublaslt::result::{self as lt, CublasError};
use cudarc::cublaslt::sys;

use crate::backend::{Number, Product, Trouble};

/// Bytes of scratch memory, what NVIDIA advises for the newest cards.
pub const WORKSPACE: u64 = 32 << 20;

/// cuBLASLt, and the algorithm that it advised for each shape.
pub struct Products {
    handle: sys::cublasLtHandle_t,
    workspace: u64,
    stream: sys::cudaStream_t,
    algorithms: Mutex<HashMap<Shape, sys::cublasLtMatmulAlgo_t>>,
}

// SAFETY: a handle may be used from any thread, and several at once; the stream is an address that only cuBLASLt follows.
unsafe impl Send for Products {}
// SAFETY: as above.
unsafe impl Sync for Products {}

/// A matrix as cuBLASLt has it: by columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Matrix {
    rows: u64,
    columns: u64,
    /// Elements from one column to the next.
    leading: u64,
    /// Whether the product takes its transpose.
    transposed: bool,
}

/// All that an algorithm depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shape {
    operands: Number,
    result: Number,
    /// The left operand of cuBLASLt: our right one.
    left: Matrix,
    right: Matrix,
    out: Matrix,
    /// Bytes to which the three and the addend are aligned.
    aligned: [u32; 4],
}

impl Shape {
    /// `out^T = op(b)^T op(a)^T`: a row-major matrix is its transpose by columns, so that the operands change places.
    fn of(p: &Product) -> Self {
        let stored = |rows: u64, columns: u64, stride: u64, transposed: bool| Matrix {
            rows: columns,
            columns: rows,
            leading: stride,
            transposed,
        };
        let (b_rows, b_columns) = if p.transpose_b { (p.n, p.k) } else { (p.k, p.n) };
        let (a_rows, a_columns) = if p.transpose_a { (p.k, p.m) } else { (p.m, p.k) };
        Shape {
            operands: p.operands,
            result: p.result,
            left: stored(b_rows, b_columns, p.b_stride, p.transpose_b),
            right: stored(a_rows, a_columns, p.a_stride, p.transpose_a),
            out: stored(p.m, p.n, p.out_stride, false),
            aligned: [p.b, p.a, p.out, p.addend.unwrap_or(p.out)].map(aligned),
        }
    }
}

/// The largest power of two that divides an address, at most 256: beyond, no algorithm asks for more.
fn aligned(address: u64) -> u32 {
    1 << address.trailing_zeros().min(8)
}

/// cuBLASLt's version.
pub fn version() -> (i32, i32) {
    // SAFETY: it takes nothing.
    version_of(unsafe { sys::cublasLtGetVersion() })
}

/// 120806 is 12.8, or 12.8.6.
fn version_of(number: usize) -> (i32, i32) {
    ((number / 10_000) as i32, (number / 100 % 100) as i32)
}

impl Products {
    /// cuBLASLt on a stream, with scratch memory of [`WORKSPACE`] bytes.
    ///
    /// # Errors
    /// What cuBLASLt says.
    ///
    /// # Safety
    /// The stream's context is current and outlives this; the workspace is of this context and nobody else's.
    pub unsafe fn new(workspace: u64, stream: sys::cudaStream_t) -> Result<Self, Trouble> {
        let handle = lt::create_handle().map_err(said("cublasLtCreate"))?;
        Ok(Products { handle, workspace, stream, algorithms: Mutex::default() })
    }

    /// A product.
    ///
    /// # Errors
    /// What cuBLASLt says.
    ///
    /// # Safety
    /// As [`crate::backend::Backend::product`]; the context is current.
    pub unsafe fn run(&self, p: &Product) -> Result<(), Trouble> {
        let shape = Shape::of(p);
        let described = Described::new(&shape)?;
        let algorithm = self.algorithm(&shape, &described).map_err(said("cublasLtMatmulAlgoGetHeuristic"))?;
        let (alpha, beta) = (1.0f32, if p.addend.is_some() { 1.0f32 } else { 0.0 });
        // SAFETY: descriptions of matrices that lie where the caller says; the addend is as `out` is, and may be that.
        let done = unsafe {
            lt::matmul(
                self.handle,
                described.product,
                ptr::from_ref(&alpha).cast(),
                ptr::from_ref(&beta).cast(),
                p.b as *const _,
                described.left,
                p.a as *const _,
                described.right,
                p.addend.unwrap_or(p.out) as *const _,
                described.out,
                p.out as *mut _,
                described.out,
                &algorithm,
                self.workspace as *mut _,
                WORKSPACE as usize,
                self.stream,
            )
        };
        done.map_err(said(&format!("cublasLtMatmul of {shape:?}")))
    }

    /// The algorithm that cuBLASLt advises, asked for once: the same shape is always computed the same way.
    fn algorithm(
        &self,
        shape: &Shape,
        described: &Described,
    ) -> Result<sys::cublasLtMatmulAlgo_t, CublasError> {
        let mut algorithms = self.algorithms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = algorithms.get(shape) {
            return Ok(*known);
        }
        let preference = Preference::new(shape)?;
        // SAFETY: all are descriptions that exist.
        let found = unsafe {
            lt::get_matmul_algo_heuristic(
                self.handle,
                described.product,
                described.left,
                described.right,
                described.out,
                described.out,
                preference.0,
            )?
        };
        algorithms.insert(*shape, found.algo);
        Ok(found.algo)
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        // SAFETY: created in `new`, destroyed once.
        let _ = unsafe { lt::destroy_handle(self.handle) };
    }
}

/// Descriptions of a product and its matrices; null where one could not be made.
struct Described {
    product: sys::cublasLtMatmulDesc_t,
    left: sys::cublasLtMatrixLayout_t,
    right: sys::cublasLtMatrixLayout_t,
    out: sys::cublasLtMatrixLayout_t,
}

impl Described {
    fn new(shape: &Shape) -> Result<Self, Trouble> {
        use sys::cublasLtMatmulDescAttributes_t::{CUBLASLT_MATMUL_DESC_TRANSA, CUBLASLT_MATMUL_DESC_TRANSB};
        let single = sys::cudaDataType_t::CUDA_R_32F;
        let kind = |number| match number {
            Number::F32 => single,
            Number::Bf16 => sys::cudaDataType_t::CUDA_R_16BF,
        };
        let mut made = Described {
            product: ptr::null_mut(),
            left: ptr::null_mut(),
            right: ptr::null_mut(),
            out: ptr::null_mut(),
        };
        let layout = |kind, m: &Matrix| {
            lt::create_matrix_layout(kind, m.rows, m.columns, m.leading as i64)
                .map_err(said("cublasLtMatrixLayoutCreate"))
        };
        // Plain f32: neither TF32 nor anything else that rounds operands.
        let compute = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        made.product = lt::create_matmul_desc(compute, single).map_err(said("cublasLtMatmulDescCreate"))?;
        made.left = layout(kind(shape.operands), &shape.left)?;
        made.right = layout(kind(shape.operands), &shape.right)?;
        made.out = layout(kind(shape.result), &shape.out)?;
        for (attribute, matrix) in
            [(CUBLASLT_MATMUL_DESC_TRANSA, &shape.left), (CUBLASLT_MATMUL_DESC_TRANSB, &shape.right)]
        {
            let operation: i32 = i32::from(matrix.transposed);
            // SAFETY: the attribute is a number of 4 bytes: 0 as it is, 1 transposed.
            let set = unsafe {
                lt::set_matmul_desc_attribute(made.product, attribute, ptr::from_ref(&operation).cast(), 4)
            };
            set.map_err(said("cublasLtMatmulDescSetAttribute"))?;
        }
        Ok(made)
    }
}

impl Drop for Described {
    fn drop(&mut self) {
        // SAFETY: each was created in `new` unless it is null, and is destroyed once.
        unsafe {
            for layout in [self.left, self.right, self.out].into_iter().filter(|layout| !layout.is_null()) {
                let _ = lt::destroy_matrix_layout(layout);
            }
            if !self.product.is_null() {
                let _ = lt::destroy_matmul_desc(self.product);
            }
        }
    }
}

/// What is asked of an algorithm.
struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    fn new(shape: &Shape) -> Result<Self, CublasError> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let preference = Preference(lt::create_matmul_pref()?);
        let set = |attribute, value: *const core::ffi::c_void, bytes| {
            // SAFETY: callers give a value of so many bytes.
            unsafe { lt::set_matmul_pref_attribute(preference.0, attribute, value, bytes) }
        };
        let workspace = WORKSPACE;
        set(Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, ptr::from_ref(&workspace).cast(), 8)?;
        if shape.result == Number::Bf16 {
            // Parts of a sum that is shared out among blocks are added in f32, not in the type of the result.
            let schemes = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
            let schemes_at = ptr::from_ref(&schemes).cast();
            set(Attribute::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, schemes_at, 4)?;
        }
        let [left, right, out, addend] = &shape.aligned;
        for (attribute, aligned) in [
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, left),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, right),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, addend),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, out),
        ] {
            set(attribute, ptr::from_ref(aligned).cast(), 4)?;
        }
        Ok(preference)
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: created in `new`, destroyed once.
        let _ = unsafe { lt::destroy_matmul_pref(self.0) };
    }
}

fn said(what: &str) -> impl FnOnce(CublasError) -> Trouble {
    move |error| Trouble::Other(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What cuBLASLt's document says that it computes, by columns.
    fn by_columns(shape: &Shape, left: &[f64], right: &[f64], out: &mut [f64]) {
        let op = |m: &Matrix, x: &[f64], row: u64, column: u64| {
            let (row, column) = if m.transposed { (column, row) } else { (row, column) };
            assert!(row < m.rows && column < m.columns && m.leading >= m.rows);
            x[(column * m.leading + row) as usize]
        };
        let terms = if shape.left.transposed { shape.left.rows } else { shape.left.columns };
        for column in 0..shape.out.columns {
            for row in 0..shape.out.rows {
                let sum = (0..terms)
                    .map(|k| op(&shape.left, left, row, k) * op(&shape.right, right, k, column))
                    .sum();
                out[(column * shape.out.leading + row) as usize] = sum;
            }
        }
    }

    #[test]
    fn a_version_is_two_numbers_of_one() {
        assert_eq!([120_806, 130_000].map(version_of), [(12, 8), (13, 0)]);
    }

    /// Where cuBLASLt is installed: descriptions need no card.
    #[test]
    fn cublaslt_takes_the_descriptions() {
        // SAFETY: opening the library runs NVIDIA's initialisers.
        if !unsafe { sys::is_culib_present() } {
            return;
        }
        let [single, half] = [Number::F32, Number::Bf16];
        for (operands, result) in [(single, single), (half, single), (half, half)] {
            let shape = Shape::of(&Product {
                m: 3,
                n: 4,
                k: 5,
                operands,
                a: 256,
                a_stride: 5,
                transpose_a: false,
                b: 512,
                b_stride: 5,
                transpose_b: true,
                result,
                out: 768,
                out_stride: 4,
                addend: Some(1024),
            });
            drop(Described::new(&shape).unwrap());
            drop(Preference::new(&shape).unwrap());
        }
    }

    #[test]
    fn the_product_by_columns_is_the_product_by_rows() {
        for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
            let (m, n, k) = (3, 4, 5);
            let (a_stride, b_stride, out_stride) = (9, 8, 7);
            let product = Product {
                m,
                n,
                k,
                operands: Number::F32,
                a: 16,
                a_stride,
                transpose_a,
                b: 512,
                b_stride,
                transpose_b,
                result: Number::F32,
                out: 4,
                out_stride,
                addend: Some(8),
            };
            let a: Vec<f64> = (0..60).map(|i| f64::from(i * 7 % 11)).collect();
            let b: Vec<f64> = (0..60).map(|i| f64::from(i * 5 % 13)).collect();
            let mut out = vec![0.0; 30];
            let shape = Shape::of(&product);
            assert_eq!(shape.aligned, [256, 16, 4, 8]);
            by_columns(&shape, &b, &a, &mut out);
            for i in 0..m {
                for j in 0..n {
                    let of_a = |t| a[if transpose_a { t * a_stride + i } else { i * a_stride + t } as usize];
                    let of_b = |t| b[if transpose_b { j * b_stride + t } else { t * b_stride + j } as usize];
                    let expected: f64 = (0..k).map(|t| of_a(t) * of_b(t)).sum();
                    assert_eq!(out[(i * out_stride + j) as usize], expected, "{transpose_a} {transpose_b}");
                }
            }
        }
    }
}
