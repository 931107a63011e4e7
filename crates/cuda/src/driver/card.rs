//! What the driver says of its cards.

use cudarc::driver::result as cu;
use cudarc::driver::sys;

use super::{Unavailable, has_driver, text};

/// A card, and whether it can be used here is another question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its name: `NVIDIA H200`.
    pub name: String,
    /// Compute capability: (9, 0).
    pub capability: (i32, i32),
    /// Its memory in bytes.
    pub memory: u64,
    /// The newest CUDA that the driver knows: (12, 8).
    pub driver: (i32, i32),
}

/// All cards, in the driver's order.
///
/// # Errors
/// No driver, or what it says.
pub fn cards() -> Result<Vec<Card>, Unavailable> {
    (0..count()?).map(describe).collect()
}

/// One card.
pub(super) fn one(index: usize) -> Result<Card, Unavailable> {
    let count = count()?;
    if count == 0 {
        return Err(Unavailable::NoCard);
    }
    if index >= count {
        return Err(Unavailable::NoSuchCard { wanted: index, count });
    }
    describe(index)
}

fn count() -> Result<usize, Unavailable> {
    if !has_driver() {
        return Err(Unavailable::NoDriver);
    }
    match cu::init() {
        Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE => return Ok(0),
        other => other.map_err(|error| Unavailable::Other(format!("cuInit: {}", text(error))))?,
    }
    let count = cu::device::get_count().map_err(said)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

fn describe(index: usize) -> Result<Card, Unavailable> {
    use sys::CUdevice_attribute_enum as Attribute;
    let device = cu::device::get(index as i32).map_err(said)?;
    // SAFETY: the driver has just given this device.
    let number = |attribute| unsafe { cu::device::get_attribute(device, attribute) }.map_err(said);
    let major = number(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = number(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    // SAFETY: as above.
    let memory = unsafe { cu::device::total_mem(device) }.map_err(said)? as u64;
    let mut version = 0;
    // SAFETY: the driver writes one number.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(said)?;
    let name = cu::device::get_name(device).map_err(said)?;
    Ok(Card { name, capability: (major, minor), memory, driver: (version / 1000, version % 1000 / 10) })
}

fn said(error: cu::DriverError) -> Unavailable {
    Unavailable::Other(format!("the NVIDIA driver: {}", text(error)))
}
