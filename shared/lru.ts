/**
 * A cache of at most so many entries; who was not asked for longest goes first. It grows with what it holds: with `max` the
 * library makes room for all of them at once, and six caches of that kind take 15 ms of every start.
 */
import { LRUCache } from 'lru-cache'

export const lru = <V extends object | number>(entries: number): LRUCache<string, V> =>
  new LRUCache<string, V>({ maxSize: entries, sizeCalculation: () => 1 })
