/**
 * When mailboxes are polled. Each user has a moment of its own in every interval, the same whoever owns the user: polls
 * are spread evenly, and a new owner goes on at the moment at which the old one would have. Pure.
 */
import { hash } from 'node:crypto'

const HEX_DIGITS = 8

/** The user's part of the interval, 0 ≤ slot < 1. */
export const slotOf = (userId: string): number =>
  Number.parseInt(hash('sha256', userId, 'hex').slice(0, HEX_DIGITS), 16) / 16 ** HEX_DIGITS

/** The first moment of the slot after the given one, epoch ms; at most one interval later. */
export function nextSlotMs(afterMs: number, intervalMs: number, slot: number): number {
  const offsetMs = Math.floor(slot * intervalMs)
  return (Math.floor((afterMs - offsetMs) / intervalMs) + 1) * intervalMs + offsetMs
}
