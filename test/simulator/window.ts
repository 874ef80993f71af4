/** Owns one sliding window of used units. Refuses to decide what happens when it is full. */
export interface Window {
  add: (nowMs: number, units: number) => void
  used: (nowMs: number) => number
  /** Earliest time at which `units` more fit under `limit`. */
  reopensAt: (nowMs: number, units: number, limit: number) => number
  peak: () => number
}

/** `slots` slots of `slotMs` each: memory does not grow with the traffic. */
export function createWindow(slotMs: number, slots: number): Window {
  const sums = new Map<number, number>()
  let total = 0
  let peak = 0
  const prune = (nowMs: number): number => {
    const slot = Math.floor(nowMs / slotMs)
    for (const [old, units] of sums) {
      if (old > slot - slots) break
      sums.delete(old)
      total -= units
    }
    return slot
  }
  return {
    add: (nowMs, units) => {
      const slot = prune(nowMs)
      sums.set(slot, (sums.get(slot) ?? 0) + units)
      total += units
      peak = Math.max(peak, total)
    },
    used: (nowMs) => {
      prune(nowMs)
      return total
    },
    reopensAt: (nowMs, units, limit) => {
      prune(nowMs)
      let left = total
      let at = nowMs
      for (const [slot, sum] of sums) {
        if (left + units <= limit) break
        left -= sum
        at = (slot + slots) * slotMs
      }
      return at
    },
    peak: () => peak,
  }
}
