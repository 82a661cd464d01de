mod heap;
mod impossible;
