//! Requests as a damaged disk could return them. Splitting them and writing them as JSON must not
//! panic, and intact requests must stay intact.
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
    // Our parser may refuse what prost accepts, such as fields in groups. What it accepts, it must
    // count as prost does.
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
