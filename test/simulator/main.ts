/** The simulator as a process: prints one JSON line `{"url","env"}` when ready, ends on SIGTERM or SIGINT. */
import { parseArgs } from 'node:util'
import { startSimulator } from './simulator.ts'
import type { Paging, QuotaProfile } from './types.ts'

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    profile: { type: 'string', default: 'fast' },
    seed: { type: 'string', default: '1' },
    paging: { type: 'string', default: 'keyset' },
    'page-size-graph': { type: 'string', default: '1000' },
  },
})
const simulator = await startSimulator({
  port: Number(values.port),
  profile: values.profile as QuotaProfile,
  seed: Number(values.seed),
  paging: values.paging as Paging,
  pageSizeGraph: Number(values['page-size-graph']),
})
process.stdout.write(`${JSON.stringify({ url: simulator.url, env: simulator.env })}\n`)
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    simulator.close().then(
      () => process.exit(0),
      () => process.exit(1),
    )
  })
}
