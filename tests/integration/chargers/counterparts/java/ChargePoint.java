import com.google.gson.Gson;
import eu.chargetime.ocpp.ClientEvents;
import eu.chargetime.ocpp.JSONClient;
import eu.chargetime.ocpp.JSONConfiguration;
import eu.chargetime.ocpp.feature.profile.ClientCoreProfile;
import eu.chargetime.ocpp.feature.profile.ClientFirmwareManagementProfile;
import eu.chargetime.ocpp.feature.profile.ClientRemoteTriggerProfile;
import eu.chargetime.ocpp.feature.profile.ClientSmartChargingProfile;
import eu.chargetime.ocpp.feature.profile.securityext.ClientSecurityExtProfile;
import eu.chargetime.ocpp.model.Confirmation;
import eu.chargetime.ocpp.model.Request;
import eu.chargetime.ocpp.model.core.*;
import eu.chargetime.ocpp.model.firmware.DiagnosticsStatus;
import eu.chargetime.ocpp.model.firmware.DiagnosticsStatusNotificationRequest;
import eu.chargetime.ocpp.model.firmware.FirmwareStatus;
import eu.chargetime.ocpp.model.firmware.FirmwareStatusNotificationRequest;
import eu.chargetime.ocpp.model.securityext.LogStatusNotificationRequest;
import eu.chargetime.ocpp.model.securityext.SecurityEventNotificationRequest;
import eu.chargetime.ocpp.model.securityext.types.UploadLogStatusEnumType;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * A charge point of OCPP 1.6 out of the ChargeTime library.
 *
 * <p>Whom it connects to stands in the environment. Each line of stdin orders something: park (a car that
 * waits for a remote start), plug, unplug, heartbeat, rest. Each line of stdout tells something, as JSON: what the central system asked or answered, what the car draws, and what
 * was wrong.
 */
public final class ChargePoint {
  private static final int CONNECTOR = 1, ANSWER_S = 10;
  private static final String ID_TAG = "04A2B3C4";
  private static final Gson JSON = new Gson();

  final Outlet outlet = new Outlet();
  /** What is to be done, one after the other; nothing more once it is switched off. */
  private final ExecutorService orders =
      new ThreadPoolExecutor(
          1, 1, 0, TimeUnit.SECONDS, new LinkedBlockingQueue<>(), new ThreadPoolExecutor.DiscardPolicy());

  private final JSONClient client;
  private volatile Integer transactionId;
  private volatile boolean isParked;
  private double toldA;

  /** One thing to do, which may fail. */
  interface Task {
    void run() throws Exception;
  }

  private ChargePoint(Map<String, String> environment) throws Exception {
    var identity = environment.get("OCPP_IDENTITY");
    var configuration =
        JSONConfiguration.get()
            .setParameter(JSONConfiguration.USERNAME_PARAMETER, identity)
            .setParameter(JSONConfiguration.PASSWORD_PARAMETER, environment.get("OCPP_PASSWORD"));
    var answers = new Answers(this);
    client = new JSONClient(new ClientCoreProfile(answers), identity, configuration);
    client.addFeatureProfile(new ClientSmartChargingProfile(answers));
    client.addFeatureProfile(new ClientRemoteTriggerProfile(answers));
    // What they would be asked, nobody asks here.
    client.addFeatureProfile(new ClientFirmwareManagementProfile(null));
    client.addFeatureProfile(new ClientSecurityExtProfile(null));
    if (environment.containsKey("OCPP_CA_FILE")) {
      client.enableWSS(trusting(Path.of(environment.get("OCPP_CA_FILE"))));
    }
  }

  public static void main(String[] arguments) throws Exception {
    var environment = System.getenv();
    var point = new ChargePoint(environment);
    point.next("connecting", () -> point.connect(environment.get("OCPP_URL")));
    point.next("boot", point::boot);
    var lines = new BufferedReader(new InputStreamReader(System.in));
    for (var order = lines.readLine(); order != null; order = lines.readLine()) {
      point.obey(order);
    }
    point.orders.shutdown();
    point.orders.awaitTermination(ANSWER_S, TimeUnit.SECONDS);
    point.client.disconnect();
    System.exit(0);
  }

  /** Do this after everything else, as a charge point has one question open at a time. */
  void next(String where, Task task) {
    orders.execute(
        () -> {
          try {
            task.run();
          } catch (Exception error) {
            tell("wrong", where + ": " + error);
          }
        });
  }

  static synchronized void tell(String... told) {
    var line = new LinkedHashMap<String, String>();
    for (int index = 0; index < told.length; index += 2) {
      line.put(told[index], told[index + 1]);
    }
    System.out.println(JSON.toJson(line));
  }

  void plug(String idTag) throws Exception {
    isParked = false;
    tellState(ChargePointStatus.Preparing);
    call(new AuthorizeRequest(idTag));
    var started = new StartTransactionRequest(CONNECTOR, idTag, outlet.energyWh(), outlet.now());
    transactionId = ((StartTransactionConfirmation) call(started)).getTransactionId();
    tell("transaction", transactionId.toString());
    outlet.plug();
    tellChange();
  }

  void park() throws Exception {
    isParked = true;
    tellState();
  }

  void unplug(Reason reason) throws Exception {
    outlet.unplug();
    var stopped = new StopTransactionRequest(outlet.energyWh(), outlet.now(), transactionId);
    stopped.setReason(reason);
    transactionId = null;
    call(stopped);
    tellState();
  }

  void restart() throws Exception {
    if (transactionId != null) {
      unplug(Reason.SoftReset);
    }
    boot();
  }

  void takeUpOffer() throws Exception {
    if (outlet.settle()) {
      tellChange();
    }
  }

  boolean charges(Integer transactionId) {
    return transactionId.equals(this.transactionId);
  }

  void tellState() throws Exception {
    var charging = outlet.drawnA() > 0 ? ChargePointStatus.Charging : ChargePointStatus.SuspendedEVSE;
    var idle = isParked ? ChargePointStatus.Preparing : ChargePointStatus.Available;
    tellState(outlet.isOccupied() ? charging : idle);
  }

  void tellMeter() throws Exception {
    outlet.count();
    var samples = new ArrayList<SampledValue>();
    samples.add(sample("Energy.Active.Import.Register", "Wh", outlet.energyWh(), null));
    samples.add(sample("Power.Active.Import", "W", outlet.powerW(), null));
    for (int line = 1; line <= Outlet.PHASES; line++) {
      samples.add(sample("Current.Import", "A", outlet.drawnA(), "L" + line));
    }
    var values = new MeterValuesRequest(CONNECTOR);
    values.setTransactionId(transactionId);
    values.setMeterValue(new MeterValue[] {new MeterValue(outlet.now(), samples.toArray(SampledValue[]::new))});
    call(values);
  }

  private void obey(String order) {
    Map<String, Task> known =
        Map.of(
            "park", this::park,
            "plug", () -> plug(ID_TAG),
            "unplug", () -> unplug(Reason.EVDisconnected),
            "heartbeat", this::heartbeat,
            "rest", this::tellTheRest);
    next(order, known.get(order));
  }

  private void connect(String url) {
    var isOpen = new AtomicBoolean();
    client.connect(
        url,
        new ClientEvents() {
          @Override
          public void connectionOpened() {
            isOpen.set(true);
          }

          @Override
          public void connectionClosed() {}
        });
    // The library tells nobody but its log why it has no connection.
    if (!isOpen.get()) {
      tell("wrong", "connecting: refused");
      System.exit(1);
    }
  }

  private void boot() throws Exception {
    var booted = new BootNotificationRequest("ChargeTime", "v1_6");
    booted.setFirmwareVersion("1.1.0");
    outlet.setClock(((BootNotificationConfirmation) call(booted)).getCurrentTime());
    tellState();
  }

  private void heartbeat() throws Exception {
    outlet.setClock(((HeartbeatConfirmation) call(new HeartbeatRequest())).getCurrentTime());
    tellMeter();
  }

  private void tellTheRest() throws Exception {
    call(new DataTransferRequest("com.example"));
    call(new DiagnosticsStatusNotificationRequest(DiagnosticsStatus.Idle));
    call(new FirmwareStatusNotificationRequest(FirmwareStatus.Idle));
    call(new LogStatusNotificationRequest(UploadLogStatusEnumType.Idle));
    call(new SecurityEventNotificationRequest("SettingSystemTime", outlet.now()));
  }

  private void tellChange() throws Exception {
    tellState();
    tellMeter();
  }

  private void tellState(ChargePointStatus status) throws Exception {
    call(new StatusNotificationRequest(CONNECTOR, ChargePointErrorCode.NoError, status));
  }

  private Confirmation call(Request request) throws Exception {
    var answer = client.send(request).toCompletableFuture().get(ANSWER_S, TimeUnit.SECONDS);
    tell("answered", request.getClass().getSimpleName().replace("Request", ""));
    if (outlet.drawnA() != toldA) {
      toldA = outlet.drawnA();
      tell("draws_a", Double.toString(toldA));
    }
    return answer;
  }

  private static SampledValue sample(String measurand, String unit, double value, String phase) {
    var sample = new SampledValue(String.format(Locale.ROOT, "%.1f", value));
    sample.setMeasurand(measurand);
    sample.setUnit(unit);
    if (phase != null) {
      sample.setPhase(phase);
    }
    return sample;
  }

  private static SSLContext trusting(Path authorities) throws Exception {
    var store = KeyStore.getInstance(KeyStore.getDefaultType());
    store.load(null, null);
    try (var file = Files.newInputStream(authorities)) {
      for (var certificate : List.copyOf(CertificateFactory.getInstance("X.509").generateCertificates(file))) {
        store.setCertificateEntry("authority-" + store.size(), certificate);
      }
    }
    var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    trust.init(store);
    var context = SSLContext.getInstance("TLS");
    context.init(null, trust.getTrustManagers(), null);
    return context;
  }
}
