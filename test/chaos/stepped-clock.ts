/**
 * Loaded into an instance before everything else (`node --import`): its wall clock can be set while it runs. After SIGUSR2
 * it is off by the milliseconds in the file STEPPED_CLOCK. The monotonic clock goes on, as on a machine whose time is set.
 */
import { readFileSync } from 'node:fs'

const RealDate = Date
let offsetMs = 0

class SteppedDate extends RealDate {
  constructor(...parts: [] | ConstructorParameters<typeof RealDate>) {
    if (parts.length === 0) super(RealDate.now() + offsetMs)
    else super(...parts)
  }
  static override now(): number {
    return RealDate.now() + offsetMs
  }
}

globalThis.Date = SteppedDate as DateConstructor
process.on('SIGUSR2', () => {
  offsetMs = Number(readFileSync(process.env.STEPPED_CLOCK ?? '', 'utf8'))
})
