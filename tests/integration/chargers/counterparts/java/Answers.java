import eu.chargetime.ocpp.feature.profile.ClientCoreEventHandler;
import eu.chargetime.ocpp.feature.profile.ClientRemoteTriggerEventHandler;
import eu.chargetime.ocpp.feature.profile.ClientSmartChargingEventHandler;
import eu.chargetime.ocpp.model.core.*;
import eu.chargetime.ocpp.model.remotetrigger.TriggerMessageConfirmation;
import eu.chargetime.ocpp.model.remotetrigger.TriggerMessageRequest;
import eu.chargetime.ocpp.model.remotetrigger.TriggerMessageRequestType;
import eu.chargetime.ocpp.model.remotetrigger.TriggerMessageStatus;
import eu.chargetime.ocpp.model.smartcharging.*;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;

/** What the charge point answers; what follows from a request is done after it is answered. */
final class Answers
    implements ClientCoreEventHandler, ClientSmartChargingEventHandler, ClientRemoteTriggerEventHandler {
  private final ChargePoint point;
  private final Map<String, String> configuration =
      new TreeMap<>(
          Map.of(
              "ChargeProfileMaxStackLevel", "5",
              "ChargingScheduleAllowedChargingRateUnit", "Current",
              "MeterValueSampleInterval", "60",
              "MeterValuesSampledData", "Energy.Active.Import.Register"));

  Answers(ChargePoint point) {
    this.point = point;
  }

  @Override
  public GetConfigurationConfirmation handleGetConfigurationRequest(GetConfigurationRequest request) {
    ChargePoint.tell("asked", "GetConfiguration");
    var answer = new GetConfigurationConfirmation();
    answer.setConfigurationKey(
        Stream.of(request.getKey()).filter(configuration::containsKey).map(this::value).toArray(KeyValueType[]::new));
    answer.setUnknownKey(
        Stream.of(request.getKey()).filter(key -> !configuration.containsKey(key)).toArray(String[]::new));
    return answer;
  }

  @Override
  public ChangeConfigurationConfirmation handleChangeConfigurationRequest(ChangeConfigurationRequest request) {
    ChargePoint.tell("asked", "ChangeConfiguration");
    configuration.put(request.getKey(), request.getValue());
    return new ChangeConfigurationConfirmation(ConfigurationStatus.Accepted);
  }

  @Override
  public SetChargingProfileConfirmation handleSetChargingProfileRequest(SetChargingProfileRequest request) {
    var profile = request.getCsChargingProfiles();
    var purpose = profile.getChargingProfilePurpose().name();
    ChargePoint.tell("asked", "SetChargingProfile", "purpose", purpose);
    var limitA = profile.getChargingSchedule().getChargingSchedulePeriod()[0].getLimit();
    point.outlet.put(profile.getChargingProfileId(), new Outlet.Limit(purpose, profile.getStackLevel(), limitA));
    point.next("SetChargingProfile", point::takeUpOffer);
    return new SetChargingProfileConfirmation(ChargingProfileStatus.Accepted);
  }

  @Override
  public ClearChargingProfileConfirmation handleClearChargingProfileRequest(ClearChargingProfileRequest request) {
    ChargePoint.tell("asked", "ClearChargingProfile");
    var wasThere = point.outlet.clear(request.getId());
    point.next("ClearChargingProfile", point::takeUpOffer);
    return new ClearChargingProfileConfirmation(
        wasThere ? ClearChargingProfileStatus.Accepted : ClearChargingProfileStatus.Unknown);
  }

  @Override
  public GetCompositeScheduleConfirmation handleGetCompositeScheduleRequest(GetCompositeScheduleRequest request) {
    ChargePoint.tell("asked", "GetCompositeSchedule");
    var answer = new GetCompositeScheduleConfirmation(GetCompositeScheduleStatus.Accepted);
    answer.setConnectorId(request.getConnectorId());
    answer.setScheduleStart(point.outlet.now());
    var period = new ChargingSchedulePeriod(0, point.outlet.offeredA());
    answer.setChargingSchedule(
        new ChargingSchedule(
            eu.chargetime.ocpp.model.core.ChargingRateUnitType.A, new ChargingSchedulePeriod[] {period}));
    return answer;
  }

  @Override
  public TriggerMessageConfirmation handleTriggerMessageRequest(TriggerMessageRequest request) {
    ChargePoint.tell("asked", "TriggerMessage");
    var isMeter = request.getRequestedMessage() == TriggerMessageRequestType.MeterValues;
    point.next("TriggerMessage", isMeter ? point::tellMeter : point::tellState);
    return new TriggerMessageConfirmation(TriggerMessageStatus.Accepted);
  }

  @Override
  public RemoteStartTransactionConfirmation handleRemoteStartTransactionRequest(
      RemoteStartTransactionRequest request) {
    ChargePoint.tell("asked", "RemoteStartTransaction");
    point.next("RemoteStartTransaction", () -> point.plug(request.getIdTag()));
    return new RemoteStartTransactionConfirmation(RemoteStartStopStatus.Accepted);
  }

  @Override
  public RemoteStopTransactionConfirmation handleRemoteStopTransactionRequest(RemoteStopTransactionRequest request) {
    ChargePoint.tell("asked", "RemoteStopTransaction");
    if (!point.charges(request.getTransactionId())) {
      return new RemoteStopTransactionConfirmation(RemoteStartStopStatus.Rejected);
    }
    point.next("RemoteStopTransaction", () -> point.unplug(Reason.Remote));
    return new RemoteStopTransactionConfirmation(RemoteStartStopStatus.Accepted);
  }

  @Override
  public ResetConfirmation handleResetRequest(ResetRequest request) {
    ChargePoint.tell("asked", "Reset");
    point.next("Reset", point::restart);
    return new ResetConfirmation(ResetStatus.Accepted);
  }

  @Override
  public ChangeAvailabilityConfirmation handleChangeAvailabilityRequest(ChangeAvailabilityRequest request) {
    throw new UnsupportedOperationException("ChangeAvailability");
  }

  @Override
  public ClearCacheConfirmation handleClearCacheRequest(ClearCacheRequest request) {
    throw new UnsupportedOperationException("ClearCache");
  }

  @Override
  public DataTransferConfirmation handleDataTransferRequest(DataTransferRequest request) {
    throw new UnsupportedOperationException("DataTransfer");
  }

  @Override
  public UnlockConnectorConfirmation handleUnlockConnectorRequest(UnlockConnectorRequest request) {
    throw new UnsupportedOperationException("UnlockConnector");
  }

  private KeyValueType value(String key) {
    var value = new KeyValueType(key, false);
    value.setValue(configuration.get(key));
    return value;
  }
}
