/** How long the host of a virtual machine kept its processors from running when they had something to do, from /proc/stat. */
import { readFileSync } from 'node:fs'

/** Ticks of all processors since they were started. */
export type ProcessorTime = { ran: number; stolen: number }

export function processorTime(stat = readFileSync('/proc/stat', 'latin1')): ProcessorTime {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softIrq = 0, stolen = 0] = (/^cpu +(.*)$/m.exec(stat)?.[1] ?? '')
    .split(' ')
    .map(Number)
  return { ran: user + nice + system + irq + softIrq, stolen }
}

/** Of the time in which they had something to do; 0 when they had nothing. */
export function stolenShare(from: ProcessorTime, to: ProcessorTime): number {
  const [ran, stolen] = [to.ran - from.ran, to.stolen - from.stolen]
  return ran + stolen === 0 ? 0 : stolen / (ran + stolen)
}
