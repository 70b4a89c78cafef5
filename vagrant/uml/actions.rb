module BeowulfLab
  # The steps of each action that Vagrant asks of a machine. Each step is a class whose ``call``
  # does its work and hands on to the next.
  module Actions
    include Vagrant::Action::Builtin

    class Step
      def initialize(app, _env)
        @app = app
      end

      def call(env)
        work(env[:machine].provider, env[:machine].state.id, env)
        @app.call(env)
      end
    end

    class Start < Step
      def work(node, state, env)
        case state
        when :running then env[:ui].output("The node is on already.")
        when :paused then node.change(env[:ui], "power", "resume")
        else node.start(env[:ui])
        end
      end
    end

    class Stop < Step
      def work(node, state, env)
        return env[:ui].output("The node is off already.") if state == :poweroff
        return node.change(env[:ui], "power", "off") if env[:force_halt]

        # A frozen node could not shut itself down.
        node.change(env[:ui], "power", "resume") if state == :paused
        node.change(env[:ui], "down")
      end
    end

    class Suspend < Step
      def work(node, state, env)
        return env[:ui].output("The node is not on.") unless state == :running

        node.change(env[:ui], "power", "pause")
      end
    end

    class Resume < Step
      def work(node, state, env)
        return env[:ui].output("The node is not suspended.") unless state == :paused

        node.change(env[:ui], "power", "resume")
      end
    end

    class Destroy < Step
      def work(node, _state, env)
        node.change(env[:ui], "destroy")
      end
    end

    # Refuse what needs a node that is on.
    class NeedRunning < Step
      def work(_node, state, _env)
        raise Vagrant::Errors::VMNotCreatedError if state == :not_created
        raise Vagrant::Errors::VMNotRunningError unless state == :running
      end
    end

    # `Provision` comes first but runs the provisioners last, once the steps after it are done.
    def self.up = steps(ConfigValidate, Provision, Start)
    def self.reload = of_existing(Provision, Stop, Start)
    def self.halt = of_existing(Stop)
    def self.suspend = of_existing(Suspend)
    def self.resume = of_existing(Provision, Resume)
    def self.provision = of_existing(NeedRunning, Provision)
    def self.ssh = steps(NeedRunning, SSHExec)
    def self.ssh_run = steps(NeedRunning, SSHRun)

    def self.destroy
      confirmed = Vagrant::Action::Builder.new
      confirmed.use(Call, DestroyConfirm) do |env, chosen|
        if env[:result]
          chosen.use(ProvisionerCleanup, :before)
          chosen.use(Destroy)
        else
          chosen.use(Message, "The node is kept.")
        end
      end
      of_existing(confirmed)
    end

    def self.steps(*classes)
      Vagrant::Action::Builder.new.tap { |builder| classes.each { |step| builder.use(step) } }
    end

    def self.of_existing(*classes)
      steps(ConfigValidate).tap do |builder|
        builder.use(Call, IsState, :not_created) do |env, chosen|
          next chosen.use(Message, "The node does not exist.") if env[:result]

          classes.each { |step| chosen.use(step) }
        end
      end
    end
    private_class_method :steps, :of_existing
  end
end
