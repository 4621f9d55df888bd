//! What AWS wants for what was counted: list prices of us-east-1, in dollars, without what is free of charge.

/// DynamoDB on demand, a million units of writing. <https://aws.amazon.com/dynamodb/pricing/on-demand/>
const WRITTEN: f64 = 0.625;
/// A million units of reading.
const READ: f64 = 0.125;
/// Lambda, a million invocations. <https://aws.amazon.com/lambda/pricing/>
const INVOCATIONS: f64 = 0.20;
/// A million seconds of a gigabyte, on arm64.
const GB_SECONDS: f64 = 13.3334;
/// EventBridge, a million events that were put on a bus. Those of a schedule cost nothing.
/// <https://aws.amazon.com/eventbridge/pricing/>
const EVENTS: f64 = 1.00;
/// SQS, a million requests. <https://aws.amazon.com/sqs/pricing/>
const QUEUE_REQUESTS: f64 = 0.40;
/// An HTTP API of API Gateway, a million requests. <https://aws.amazon.com/api-gateway/pricing/>
const HTTP_REQUESTS: f64 = 1.00;
/// CloudWatch, a gigabyte of logs. <https://aws.amazon.com/cloudwatch/pricing/>
const LOGS: f64 = 0.50;

/// A queue's message is sent, received and deleted.
pub const REQUESTS_PER_MESSAGE: f64 = 3.0;

/// What was used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Used {
    /// Units of DynamoDB.
    pub written: f64,
    /// See `written`.
    pub read: f64,
    /// Of functions.
    pub invocations: f64,
    /// Seconds that they ran, times gigabytes that they had.
    pub gb_seconds: f64,
    /// Put on the bus.
    pub events: f64,
    /// Of queues.
    pub queue_requests: f64,
    /// Over HTTP.
    pub http_requests: f64,
    /// Bytes.
    pub logged: f64,
}

impl Used {
    /// What each service takes for so many times this, in dollars.
    pub fn bill(&self, times: f64) -> [(&'static str, f64); 6] {
        let millions = times / 1e6;
        let gigabytes = times / 1e9;
        [
            ("DynamoDB", millions * (self.written * WRITTEN + self.read * READ)),
            ("Lambda", millions * (self.invocations * INVOCATIONS + self.gb_seconds * GB_SECONDS)),
            ("EventBridge", millions * self.events * EVENTS),
            ("SQS", millions * self.queue_requests * QUEUE_REQUESTS),
            ("API Gateway", millions * self.http_requests * HTTP_REQUESTS),
            ("CloudWatch logs", gigabytes * self.logged * LOGS),
        ]
    }
}
