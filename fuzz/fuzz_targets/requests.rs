//! Requests as a damaged disk could give them back: split and written as JSON without a panic, and whole where they
//! are whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqspan::internals::encode::{json, split};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

fn spans(request: &ExportTraceServiceRequest) -> usize {
    let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
    scopes.map(|scope| scope.spans.len()).sum()
}

fuzz_target!(|bytes: &[u8]| {
    let counted = split::count_spans(bytes);
    let halves = split::halves(bytes);
    _ = json::traces_data_line(&mut Vec::new(), bytes);
    let Ok(read) = ExportTraceServiceRequest::decode(bytes) else {
        return;
    };
    // Ours may refuse what prost lets pass, such as fields in groups; what it takes it must count as prost does.
    if let Ok(counted) = counted {
        assert_eq!(counted as usize, spans(&read));
    }
    if let Ok(Some((first, second))) = halves {
        let halves = [first, second].map(|half| {
            let read =
                ExportTraceServiceRequest::decode(half.bytes).expect("half of what was whole");
            assert_eq!(spans(&read), half.spans as usize);
            spans(&read)
        });
        assert_eq!(halves.iter().sum::<usize>(), spans(&read));
    }
});
