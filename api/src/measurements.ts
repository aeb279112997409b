/** Upper bounds of the request-duration histogram, seconds. */
const bounds = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

interface RouteTimes {
  buckets: number[];
  sum: number;
  count: number;
}

/** A number read when asked for, with its help text. */
export interface Gauge {
  name: string;
  help: string;
  values: () => { labels?: Record<string, string>; value: number }[];
}

/** Counts and times of this process since its start, for Prometheus and for system_metrics. */
export class Measurements {
  readonly #requests = new Map<string, number>();
  readonly #times = new Map<string, RouteTimes>();
  readonly #gauges: Gauge[] = [];
  /** Access-log entries and uses of keys that could not be written and were given up. */
  lostEntries = 0;
  /** All requests, those answered with a 5xx, and their time, since the last `takeInterval`. */
  #interval = { requests: 0, errors: 0, seconds: 0 };

  add(gauge: Gauge): void {
    this.#gauges.push(gauge);
  }

  record(method: string, route: string, status: number, seconds: number): void {
    const labels = labelText({ method, route, status: String(status) });
    this.#requests.set(labels, (this.#requests.get(labels) ?? 0) + 1);
    const name = labelText({ method, route });
    let times = this.#times.get(name);
    if (times === undefined) {
      times = { buckets: bounds.map(() => 0), sum: 0, count: 0 };
      this.#times.set(name, times);
    }
    const bucket = bounds.findIndex((bound) => seconds <= bound);
    if (bucket !== -1) times.buckets[bucket] = (times.buckets[bucket] ?? 0) + 1;
    times.sum += seconds;
    times.count += 1;
    this.#interval.requests += 1;
    this.#interval.seconds += seconds;
    if (status >= 500) this.#interval.errors += 1;
  }

  /** What happened since the last call. */
  takeInterval(): { requests: number; errors: number; seconds: number } {
    const taken = this.#interval;
    this.#interval = { requests: 0, errors: 0, seconds: 0 };
    return taken;
  }

  /** Prometheus' text format, version 0.0.4. */
  text(): string {
    const lines = [
      "# HELP ctm_api_requests_total Requests answered.",
      "# TYPE ctm_api_requests_total counter",
    ];
    for (const [labels, count] of this.#requests) {
      lines.push(`ctm_api_requests_total{${labels}} ${count}`);
    }
    lines.push(
      "# HELP ctm_api_request_duration_seconds Time from a request's arrival to its answer.",
      "# TYPE ctm_api_request_duration_seconds histogram",
    );
    for (const [labels, times] of this.#times) {
      let below = 0;
      for (const [index, bound] of bounds.entries()) {
        below += times.buckets[index] ?? 0;
        lines.push(`ctm_api_request_duration_seconds_bucket{${labels},le="${bound}"} ${below}`);
      }
      lines.push(
        `ctm_api_request_duration_seconds_bucket{${labels},le="+Inf"} ${times.count}`,
        `ctm_api_request_duration_seconds_sum{${labels}} ${times.sum}`,
        `ctm_api_request_duration_seconds_count{${labels}} ${times.count}`,
      );
    }
    lines.push(
      "# HELP ctm_api_lost_entries_total Access-log entries and key uses that could not be written.",
      "# TYPE ctm_api_lost_entries_total counter",
      `ctm_api_lost_entries_total ${this.lostEntries}`,
    );
    for (const gauge of this.#gauges) {
      lines.push(`# HELP ${gauge.name} ${gauge.help}`, `# TYPE ${gauge.name} gauge`);
      for (const { labels, value } of gauge.values()) {
        lines.push(`${gauge.name}${labels === undefined ? "" : `{${labelText(labels)}}`} ${value}`);
      }
    }
    return `${lines.join("\n")}\n`;
  }
}

function labelText(labels: Record<string, string>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${value.replace(/["\\\n]/g, "_")}"`)
    .join(",");
}
