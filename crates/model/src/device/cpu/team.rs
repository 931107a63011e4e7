//! Threads that compute one operation together.
//!
//! A decoder's step is hundreds of operations of some ten microseconds, and waking a sleeping thread costs as much as
//! one of them. So members of a team wait for the next operation by spinning for a moment before they sleep, and an
//! operation never waits for a member that has not begun: it is over when its tasks are.
//!
//! Which member runs which task is left to chance; results must not depend on it, and so do not depend on the number
//! of threads either.

use std::any::Any;
use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

/// Times that a waiting member looks for an operation before it sleeps: some 200 microseconds.
const SPINS: usize = 4000;
/// Times that the end of an operation is looked for before the processor is offered to others.
const PATIENCE: usize = 200;

/// Set in the state while members may join the operation.
const OPEN: u64 = 1 << 16;
/// The members at work.
const MEMBERS: u64 = OPEN - 1;
/// What the state grows by from one operation to the next.
const OPERATION: u64 = OPEN << 1;

type Task<'a> = dyn Fn(usize) + Sync + 'a;

/// A number of threads, the calling one among them.
#[derive(Debug)]
pub struct Team {
    shared: Arc<Shared>,
    threads: usize,
    /// Held by the caller whose operation runs.
    busy: Mutex<()>,
}

#[derive(Debug)]
struct Shared {
    /// Number of the operation, whether it is open, and how many members are at work on it.
    state: AtomicU64,
    /// What the open operation computes.
    operation: UnsafeCell<Option<Operation>>,
    /// The next task that nobody has taken.
    next: AtomicUsize,
    /// What the first task that panicked said.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Members that sleep or are about to.
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
}

// SAFETY: `operation` is written only by the holder of `busy` while no operation is open and no member at work, and
// read only by members that have joined an open one.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `operation` is followed only while the operation is open, as above.
unsafe impl Send for Shared {}

#[derive(Clone, Copy)]
struct Operation {
    task: *const Task<'static>,
    tasks: usize,
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tasks", self.tasks)
    }
}

impl Team {
    /// The team of as many threads as rayon's current pool has. Teams of one size are one team.
    pub fn current() -> Arc<Self> {
        static TEAMS: Mutex<BTreeMap<usize, Arc<Team>>> = Mutex::new(BTreeMap::new());
        let threads = rayon::current_num_threads().max(1);
        let mut teams = TEAMS.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(teams.entry(threads).or_insert_with(|| Arc::new(Team::new(threads))))
    }

    /// Starts a team's threads. They live as long as the process: only [`Team::current`] makes teams.
    fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            operation: UnsafeCell::new(None),
            next: AtomicUsize::new(0),
            panic: Mutex::new(None),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
        });
        // A member that cannot be started is done without: every operation is complete with the caller alone.
        let started = (1..threads).filter(|index| {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("cpu-{index}")).spawn(move || shared.serve()).is_ok()
        });
        let threads = 1 + started.count();
        Team { shared, threads, busy: Mutex::new(()) }
    }

    /// Threads, the calling one among them.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `task(0)` to `task(tasks - 1)`, in no order, and returns when all have ended. Where the team is already at
    /// work for another caller, the calling thread does all of it.
    ///
    /// # Panics
    /// When a task does.
    pub fn run(&self, tasks: usize, task: impl Fn(usize) + Sync) {
        let guard = if tasks > 1 && self.threads > 1 { self.busy.try_lock().ok() } else { None };
        if guard.is_none() {
            (0..tasks).for_each(task);
            return;
        }
        let task: &Task<'_> = &task;
        // SAFETY: only the lifetime changes. Members follow the pointer while the operation is open; `Closing` closes
        // it and waits for those at work before this function returns or unwinds.
        let task = unsafe { std::mem::transmute::<*const Task<'_>, *const Task<'static>>(task) };
        let shared = &*self.shared;
        let operation = Operation { task, tasks };
        // SAFETY: `busy` is held, and the operation before was closed and left by all members.
        unsafe { *shared.operation.get() = Some(operation) };
        shared.next.store(0, Ordering::Relaxed);
        let number = (shared.state.load(Ordering::Relaxed) & !MEMBERS & !OPEN) + OPERATION;
        shared.state.store(number | OPEN, Ordering::SeqCst);
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            let _sleep = shared.sleep.lock().unwrap_or_else(PoisonError::into_inner);
            shared.wake.notify_all();
        }
        let closing = Closing(shared);
        shared.work(operation);
        drop(closing);
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(guard);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// `task(i)` for each `i`, in order.
    pub fn map<T: Send>(&self, tasks: usize, task: impl Fn(usize) -> T + Sync) -> Vec<T> {
        let mut results: Vec<Option<T>> = (0..tasks).map(|_| None).collect();
        self.chunks(&mut results, 1, |i, place| place[0] = Some(task(i)));
        results.into_iter().flatten().collect()
    }

    /// `task(i, chunk)` for each chunk of `size` elements; the last may be shorter.
    pub fn chunks<T: Send>(&self, x: &mut [T], size: usize, task: impl Fn(usize, &mut [T]) + Sync) {
        let mut nothing: [(); 0] = [];
        self.chunks2(x, size, &mut nothing, 0, |i, x, _| task(i, x));
    }

    /// `task(i, chunk of x, chunk of y)` for as many chunks as `x` has.
    pub fn chunks2<T: Send, U: Send>(
        &self,
        x: &mut [T],
        x_size: usize,
        y: &mut [U],
        y_size: usize,
        task: impl Fn(usize, &mut [T], &mut [U]) + Sync,
    ) {
        let tasks = if x.is_empty() { 0 } else { x.len().div_ceil(x_size) };
        let (x, y) = (Parts::new(x, x_size), Parts::new(y, y_size));
        // SAFETY: each task takes the chunks of its own index, once.
        self.run(tasks, |i| task(i, unsafe { x.part(i) }, unsafe { y.part(i) }));
    }
}

/// A slice in chunks that different threads write.
struct Parts<T> {
    start: *mut T,
    len: usize,
    size: usize,
}

// SAFETY: threads take different chunks, by the contract of `part`.
unsafe impl<T: Send> Sync for Parts<T> {}

impl<T> Parts<T> {
    fn new(x: &mut [T], size: usize) -> Self {
        Parts { start: x.as_mut_ptr(), len: x.len(), size }
    }

    /// Chunk `i`, cut at the slice's end.
    ///
    /// # Safety
    /// Nobody else may hold chunk `i`, and the slice must outlive it.
    #[allow(clippy::mut_from_ref)]
    unsafe fn part<'a>(&self, i: usize) -> &'a mut [T] {
        let first = (i * self.size).min(self.len);
        let len = self.size.min(self.len - first);
        // SAFETY: inside of the slice; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), len) }
    }
}

/// Closes an operation and waits until no member is at work on it, also when a task of the caller's panics.
struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut looks = 0;
        while self.0.state.load(Ordering::Acquire) & MEMBERS > 0 {
            looks += 1;
            if looks < PATIENCE { std::hint::spin_loop() } else { thread::yield_now() }
        }
    }
}

impl Shared {
    /// Takes tasks until there are none.
    fn work(&self, operation: Operation) {
        let result = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: the operation is open or joined, so its task lives.
            let task = unsafe { &*operation.task };
            loop {
                let i = self.next.fetch_add(1, Ordering::Relaxed);
                if i >= operation.tasks {
                    break;
                }
                task(i);
            }
        }));
        if let Err(panic) = result {
            self.next.store(operation.tasks, Ordering::Relaxed); // nobody begins another task
            self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
        }
    }

    /// What a member does all its life.
    fn serve(&self) {
        let mut done = 0;
        loop {
            let state = self.await_operation(done);
            if self.state.compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
            done = state & !MEMBERS;
            // SAFETY: this member has joined an open operation, which therefore stays until it leaves.
            let operation = unsafe { *self.operation.get() };
            if let Some(operation) = operation {
                self.work(operation);
            }
            self.state.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// The state once an operation other than `done` is open.
    fn await_operation(&self, done: u64) -> u64 {
        let fresh = |state: u64| state & OPEN > 0 && state & !MEMBERS != done;
        loop {
            for _ in 0..SPINS {
                let state = self.state.load(Ordering::Acquire);
                if fresh(state) {
                    return state;
                }
                std::hint::spin_loop();
            }
            let sleep = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            // An operation that was opened before the line above is seen here; one opened after it sees a sleeper.
            if !fresh(self.state.load(Ordering::SeqCst)) {
                drop(self.wake.wait(sleep).unwrap_or_else(PoisonError::into_inner));
            }
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_in_every_operation() {
        let team = Team::new(3);
        for tasks in [0, 1, 2, 3, 7, 64].into_iter().cycle().take(3000) {
            let mut counts = vec![0u8; tasks];
            team.chunks(&mut counts, 1, |i, count| count[0] += 1 + i as u8);
            let expected: Vec<u8> = (0..tasks).map(|i| 1 + i as u8).collect();
            assert_eq!(counts, expected);
        }
        assert_eq!(team.map(5, |i| i * i), [0, 1, 4, 9, 16]);
    }

    #[test]
    fn chunks_of_two_slices_belong_together_and_end_with_the_slice() {
        let team = Team::new(2);
        let (mut x, mut y) = (vec![0; 10], vec![0; 7]);
        team.chunks2(&mut x, 4, &mut y, 3, |i, x, y| {
            x.fill(i + 1);
            y.fill(x.len());
        });
        assert_eq!(x, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]);
        assert_eq!(y, [4, 4, 4, 4, 4, 4, 2]);
    }

    #[test]
    fn callers_at_once_and_tasks_that_call_again_get_all_their_tasks_done() {
        let team = Team::new(2);
        let sum = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        team.run(5, |_| {
                            team.run(3, |i| {
                                sum.fetch_add(i, Ordering::Relaxed);
                            })
                        });
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 4 * 200 * 5 * 3);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_goes_on() {
        let team = Team::new(2);
        for culprit in [0, 9] {
            let fails = || team.run(10, |i| assert!(i != culprit, "task {i}"));
            let said = catch_unwind(AssertUnwindSafe(fails)).unwrap_err();
            assert_eq!(said.downcast_ref::<String>().unwrap(), &format!("task {culprit}"));
            assert_eq!(team.map(3, |i| i), [0, 1, 2]);
        }
    }

    #[test]
    fn an_operation_ends_with_its_slowest_member() {
        let team = Team::new(2);
        let caller = thread::current().id();
        for _ in 0..5 {
            let (both, done) = (std::sync::Barrier::new(2), AtomicUsize::new(0));
            team.run(2, |_| {
                both.wait(); // each thread has a task
                if thread::current().id() != caller {
                    thread::sleep(std::time::Duration::from_millis(10));
                }
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(done.into_inner(), 2);
        }
    }

    #[test]
    fn members_that_sleep_are_woken() {
        let team = Team::new(2);
        let both = std::sync::Barrier::new(2);
        for _ in 0..20 {
            thread::sleep(std::time::Duration::from_millis(2)); // longer than members spin
            team.run(2, |_| {
                both.wait();
            }); // ends only if two threads take a task each
        }
    }
}
