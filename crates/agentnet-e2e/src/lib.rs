//! Whole-stack tests of AgentNet, and what they are made of.

pub mod faults;
