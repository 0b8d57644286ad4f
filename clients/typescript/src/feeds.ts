// Rows for `POST /items` and `POST /events`: cut into calls that the endpoint takes, as JSON lines.

const MOST_ROWS = 10_000;
const MOST_BYTES = 8 * 1024 * 1024;

/** Rows of one call, and their lines. */
export interface Part<Row> {
  rows: Row[];
  lines: string;
}

/** Cut rows into parts that one call may have. */
export function* parts<Row>(rows: Iterable<Row>): Generator<Part<Row>> {
  let part: Part<Row> = { rows: [], lines: "" };
  let bytes = 0;
  for (const row of rows) {
    const line = `${JSON.stringify(row)}\n`;
    const lineBytes = new TextEncoder().encode(line).length;
    if (part.rows.length && (part.rows.length === MOST_ROWS || bytes + lineBytes > MOST_BYTES)) {
      yield part;
      part = { rows: [], lines: "" };
      bytes = 0;
    }
    part.rows.push(row);
    part.lines += line;
    bytes += lineBytes;
  }
  if (part.rows.length) yield part;
}
