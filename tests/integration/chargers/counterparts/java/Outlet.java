import java.time.Duration;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.util.Comparator;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;

/** One outlet with a car that takes all it is offered, and its meter. Knows no OCPP. */
final class Outlet {
  static final int PHASES = 3;
  private static final double VOLTAGE_V = 230, MOST_A = 32, LEAST_A = 6;

  /** What is kept of a charging profile. */
  record Limit(String purpose, int level, double limitA) {}

  private final Map<Integer, Limit> limits = new ConcurrentHashMap<>();
  private Duration ahead = Duration.ZERO;
  private ZonedDateTime countedAt;
  private double registerWh = 1000, drawnA;
  private boolean isOccupied;

  /** The time by the central system's clock, as it was told last. */
  synchronized ZonedDateTime now() {
    return ZonedDateTime.now(ZoneOffset.UTC).plus(ahead);
  }

  synchronized void setClock(ZonedDateTime told) {
    ahead = Duration.between(ZonedDateTime.now(ZoneOffset.UTC), told);
  }

  void put(int id, Limit limit) {
    limits.put(id, limit);
  }

  /** Whether there was a profile of this id. */
  boolean clear(int id) {
    return limits.remove(id) != null;
  }

  double offeredA() {
    return highest("TxProfile").or(() -> highest("TxDefaultProfile")).orElse(MOST_A);
  }

  synchronized void plug() {
    isOccupied = true;
    settle();
  }

  /** A TxProfile ends with its transaction. */
  synchronized void unplug() {
    isOccupied = false;
    limits.values().removeIf(limit -> limit.purpose().equals("TxProfile"));
    settle();
  }

  /** Take up what is offered; whether that changed what is drawn. Nothing else does, so that each change is told. */
  synchronized boolean settle() {
    count();
    double before = drawnA, offered = Math.min(offeredA(), MOST_A);
    drawnA = isOccupied && offered >= LEAST_A ? offered : 0;
    return drawnA != before;
  }

  /** Count what was drawn until now. */
  synchronized void count() {
    var now = now();
    if (countedAt != null && countedAt.isBefore(now)) {
      registerWh += powerW() * Duration.between(countedAt, now).toMillis() / 3_600_000;
    }
    countedAt = now;
  }

  synchronized boolean isOccupied() {
    return isOccupied;
  }

  synchronized double drawnA() {
    return drawnA;
  }

  synchronized double powerW() {
    return drawnA * VOLTAGE_V * PHASES;
  }

  synchronized int energyWh() {
    return (int) registerWh;
  }

  private Optional<Double> highest(String purpose) {
    return limits.values().stream()
        .filter(limit -> limit.purpose().equals(purpose))
        .max(Comparator.comparingInt(Limit::level))
        .map(Limit::limitA);
  }
}
