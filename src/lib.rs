//! phean: a beanstalkd-style work queue inside redis-server.
pub mod broker;
pub mod codec;
pub mod commands;
pub mod queue;
